import pytest

from gpunn.config.search import SearchRange, check_grid, search_space
from gpunn.errors import ArgumentError


def space(**table):
    return search_space("sweep.parameters", table)


def test_paths_with_and_without_quotes():
    quoted = space(**{"model.layers.1.units": {"low": 4, "high": 8}})
    nested = space(model={"layers": {"1": {"units": {"low": 4, "high": 8}}}})
    assert quoted == nested == {"model.layers.1.units": SearchRange(low=4, high=8)}


def test_a_key_and_what_is_within_it():
    found = search_space(
        "sweep.parameters",
        {
            "training": {"optimizer": {"learning_rate": {"low": 0.1, "high": 1}}},
            "training.optimizer": {"choices": ["adam", {"name": "sgd", "momentum": 0.9}]},
        },
    )
    assert list(found) == ["training.optimizer.learning_rate", "training.optimizer"]
    assert found["training.optimizer"].extremes == ["adam", {"name": "sgd", "momentum": 0.9}]
    assert found["training.optimizer.learning_rate"].extremes == [0.1, 1]


def test_numbers_are_whole_if_both_ends_are():
    assert SearchRange(low=0, high=4, step=2).whole
    assert not SearchRange(low=0, high=4.0).whole
    assert not SearchRange(low=0.0, high=0.3, step=0.1).whole


def test_what_is_given_is_described():
    given = {"low": 0, "high": 4, "step": 2}
    assert SearchRange(**given).plain() == given
    assert SearchRange(low=0.1, high=1.0, log=True).plain() == {
        "low": 0.1,
        "high": 1.0,
        "log": True,
    }
    assert SearchRange(choices=[0, "a"]).plain() == {"choices": [0, "a"]}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "expected at least one key with its values"),
        ({"seed": 3}, "sweep.parameters.seed: expected a table, such as { choices"),
        ({"seed": [1, "a"]}, r'such as { choices = \[1, "a"\] } or { low = 1, high = 9 }; got'),
        ({"seed": {}}, "sweep.parameters.seed.low: set this key, or set 'choices'"),
        ({"seed": {"low": 1}}, "sweep.parameters.seed.high: set this key"),
        ({"seed": {"low": 2, "high": 2}}, "seed.high: expected a number > low = 2; got 2"),
        ({"seed": {"low": 1, "high": 2, "stp": 1}}, "seed.stp: unknown key; did you mean 'step'"),
        ({"seed": {"low": 0, "high": 2, "log": True}}, "seed.low: expected a number > 0, since"),
        ({"seed": {"low": 1, "high": float("inf")}}, "seed.high: expected a finite number"),
        ({"seed": {"low": 1, "high": 4, "step": 2}}, "seed.step: expected a divisor of high - low"),
        ({"seed": {"low": 1, "high": 4, "step": 1.5}}, "seed.step: expected an integer"),
        ({"seed": {"low": 1, "high": 4, "step": 0}}, "seed.step: expected a number > 0; got 0"),
        ({"seed": {"low": 1, "high": 4, "step": 1, "log": True}}, "seed.step: cannot be combined"),
        ({"seed": {"low": True, "high": 4}}, "seed.low: expected an integer or a number"),
        ({"seed": {"choices": []}}, "seed.choices: expected a list of length >= 1"),
        ({"seed": {"choices": [1, True]}}, "seed.choices: expected unique values"),
        ({"seed": {"choices": [[1], "[1]"]}}, "seed.choices: expected unique values"),
        ({"seed": {"choices": [1, None]}}, r"seed.choices\[1\]: expected a string, a number"),
        ({"seed": {"choices": [1], "low": 0}}, "seed.low: cannot be combined with 'choices'"),
        ({"seed": {"choices": [1], "log": True}}, "seed.log: cannot be combined with 'choices'"),
        ({"a": {"b": {"low": 1, "high": 2}}, "a.b": {"choices": [1]}}, "a.b: this key is repeated"),
        ({"sweep": {"seed": {"choices": [1]}}}, "sweep.seed: trials cannot vary this key"),
    ],
)
def test_impossible_ranges(table, problem):
    with pytest.raises(ArgumentError, match=problem):
        search_space("sweep.parameters", table)


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ({"low": 1, "high": 3}, [1, 2, 3]),
        ({"low": 2, "high": 8, "step": 3}, [2, 5, 8]),
        ({"low": 0.0, "high": 0.3, "step": 0.1}, [0.0, 0.1, 0.2, 0.3]),
        ({"choices": ["a", [1]]}, ["a", [1]]),
        ({"low": 0.0, "high": 0.3}, []),
    ],
)
def test_values_one_by_one(table, values):
    assert list(SearchRange(**table).grid) == values


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"low": 0.1, "high": 1.0}, "parameters.seed.step: the sampler 'grid' tries all values"),
        ({"low": 1, "high": 8, "log": True}, "parameters.seed.log: the sampler 'grid' needs"),
        ({"low": 0, "high": 10**9}, "parameters.seed: expected at most 10,000 values for 'grid'"),
        ({"low": 0.0, "high": 1.0, "step": 1e-9}, "parameters.seed: expected at most 10,000"),
    ],
)
def test_what_is_no_grid(table, problem):
    with pytest.raises(ArgumentError, match=problem):
        check_grid(space(seed=table))


def test_a_step_is_taken_as_it_is_written():
    assert SearchRange(low=0.0, high=0.3, step=0.1).step == 0.1

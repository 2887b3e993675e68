import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunn import schedules
from gpunn.configurable import known
from gpunn.errors import ArgumentError
from gpunn.schedules import Schedule, as_schedule, as_setting

BUILTIN = [cls for cls in known(Schedule).values() if cls.__module__.startswith("gpunn.")]


def rates(schedule, times, duration=10.0):
    return schedule.at(np.array(times, dtype=float), duration)


@pytest.mark.parametrize(
    ("schedule", "times", "expected"),
    [
        (schedules.Constant(0.3), [0, 5.5, 99], [0.3, 0.3, 0.3]),
        (schedules.Step(1.0, every=2, factor=0.5), [0, 1.99, 2, 4.5], [1, 1, 0.5, 0.25]),
        (schedules.Exponential(1.0, factor=0.5), [0, 1, 2.5], [1, 0.5, 0.5**2.5]),
        (schedules.InverseScaling(1.0, power=0.5), [0, 3, 8], [1, 1 / 2, 1 / 3]),
        (schedules.Cosine(1.0), [0, 5, 10, 12], [1, 0.5, 0, 0]),
        (schedules.Cosine(1.0, final=0.2), [0, 5, 10, 12], [1, 0.6, 0.2, 0.2]),
        (schedules.WarmUp(0.4, epochs=2), [0, 1, 2, 7], [0, 0.2, 0.4, 0.4]),
        (schedules.FlatCosine(0.4), [0, 5, 7.5, 10, 12], [0.4, 0.4, 0.2, 0, 0]),
        (schedules.FlatCosine(0.4, flat=0.8), [0, 8, 9, 10], [0.4, 0.4, 0.2, 0]),
        # four bumps, of 1, 2, 4 and 8 of 15 parts
        (schedules.CosineLog(0.2), [0, 2 / 3, 2, 14 / 3, 10], [0, 0, 0, 0, 0]),
        (
            schedules.CosineLog(0.2),
            [10 / 15 * (math.sqrt(2) - 1), 10 * (2 * math.sqrt(2) - 1) / 15, 12],
            [0.2, 0.2, 0],
        ),
        (schedules.CosineLog(1.0, cycles=1), [10 * (2**0.25 - 1), 10], [0.5, 0]),
        # after the warm-up the cosine has the remaining 8 epochs
        (schedules.WarmUp(schedules.Cosine(1.0), 2), [1, 2, 6, 10], [0.5, 1, 0.5, 0]),
        (
            schedules.OneCycle(1.0, rise=0.5, start_factor=10, final_factor=100),
            [0, 2.5, 5, 7.5, 10],
            [0.1, 0.55, 1, 0.505, 0.01],
        ),
    ],
    ids=repr,
)
def test_rate_at_known_moments(schedule, times, expected):
    np.testing.assert_allclose(rates(schedule, times), expected, rtol=0, atol=1e-15)


@settings(max_examples=20)
@given(st.floats(0.01, 1000), st.integers(1, 50))
@pytest.mark.parametrize("cls", BUILTIN)
def test_rates_are_finite_and_not_negative(cls, duration, count):
    times = np.linspace(0, duration, count)
    found = cls().at(times, duration)
    assert found.shape == times.shape
    assert np.isfinite(found).all()
    assert (found >= 0).all()


@pytest.mark.parametrize("inner", [schedules.Cosine(1.0), schedules.OneCycle(1.0)])
@pytest.mark.parametrize("duration", [3.0, 5.0])
def test_a_warm_up_may_last_longer_than_the_training(inner, duration):
    times = np.linspace(0.1, duration, 7)
    found = schedules.WarmUp(inner, epochs=5).at(times, duration)
    np.testing.assert_allclose(found, times / 5 * inner.at(np.zeros(1), 1.0), rtol=1e-14)


def plateau(**parameters):
    return schedules.ReduceOnPlateau(
        **{"rate": 1.0, "factor": 0.5, "patience": 2, "min_delta": 0.0, **parameters}
    )


def watch(schedule, values, name="val_loss"):
    found = []
    for value in values:
        schedule.observe({name: value})
        found.append(rates(schedule, [0.0]).item())
    return found


@pytest.mark.parametrize(
    ("parameters", "values", "expected"),
    [
        ({}, [3, 2, 1, 0.5], [1, 1, 1, 1]),
        ({}, [1, 1, 1, 1, 1], [1, 1, 0.5, 0.5, 0.25]),
        ({}, [1, 2, 0.5, 2, 2], [1, 1, 1, 1, 0.5]),
        ({"min_delta": 0.1}, [1, 0.95, 0.92, 0.5], [1, 1, 0.5, 0.5]),
        ({"patience": 1, "min_rate": 0.3}, [1, 1, 1, 1], [1, 0.5, 0.3, 0.3]),
        ({"patience": 1, "min_rate": 2.0}, [1, 1, 1], [1, 1, 1]),
        ({"patience": 1, "mode": "max"}, [1, 2, 1], [1, 1, 0.5]),
        ({"patience": 1}, [1, math.nan], [1, 0.5]),
    ],
)
def test_reduce_on_plateau(parameters, values, expected):
    assert watch(plateau(**parameters), values) == expected


def test_a_new_rate_replaces_the_reduced_rate():
    schedule = plateau()
    watch(schedule, [1, 1, 1])
    schedule.rate = 4
    assert watch(schedule, [0.5, 1, 1]) == [4, 4, 2]


def test_reduce_on_plateau_asks_which_way_is_better():
    schedule = plateau(monitor="val_accuracy", patience=1)
    schedule.check({"val_accuracy": True})
    assert watch(schedule, [0.1, 0.2, 0.1], "val_accuracy") == [1, 1, 0.5]
    wrapped = schedules.WarmUp(plateau(monitor="mine"), 1.0)
    with pytest.raises(ArgumentError, match="a larger or a smaller 'mine' is better"):
        wrapped.check({"loss": False, "mine": None})


def test_a_missing_metric_is_named():
    with pytest.raises(ArgumentError, match=r"no value 'val_loss' without validation data"):
        plateau().observe({"loss": 1.0})


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: schedules.WarmUp(s, 1.0)])
def test_state_is_restored_exactly(wrap):
    values = [3, 3, 2, 2, 2, 1, 1, 1]
    whole, first, second = wrap(plateau()), wrap(plateau()), wrap(plateau())
    expected = [whole.observe({"val_loss": f}) or whole.state() for f in values]
    for value in values[:4]:
        first.observe({"val_loss": value})
    second.restore(json.loads(json.dumps(first.state())))
    assert [second.observe({"val_loss": f}) or second.state() for f in values[4:]] == expected[4:]


@pytest.mark.parametrize("cls", [cls for cls in BUILTIN if cls is not schedules.ReduceOnPlateau])
def test_other_schedules_have_no_state(cls):
    schedule = cls()
    schedule.observe({"loss": 1.0})
    assert schedule.state() == {}
    schedule.restore({})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, schedules.Constant(0.5)),
        (1, schedules.Constant(1.0)),
        ("cosine", schedules.Cosine()),
        (schedules.Cosine, schedules.Cosine()),
        ({"name": "step", "every": 3}, schedules.Step(every=3.0)),
        (
            {"name": "warm_up", "schedule": {"name": "cosine", "rate": 0.2}, "epochs": 2},
            schedules.WarmUp(schedules.Cosine(0.2), 2.0),
        ),
    ],
)
def test_as_schedule(value, expected):
    assert as_schedule(value) == expected


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.CosineLog(1.0), [2.125, 2.375, 2.625, 2.875]),
        (schedules.CosineLog(1.0, time_of_update=0.0), [2.0, 2.25, 2.5, 2.75]),
        (schedules.WarmUp(schedules.FlatCosine(1.0, time_of_update=0.0)), [2.0, 2.25, 2.5, 2.75]),
        (schedules.Cosine(1.0), [2.125, 2.375, 2.625, 2.875]),
    ],
    ids=repr,
)
def test_an_update_has_the_time_of_its_middle_or_another(schedule, expected):
    found = schedule.over_epoch(2, 4, 6.0)
    np.testing.assert_array_equal(found, schedule.at(np.array(expected), 6.0))


@pytest.mark.parametrize("total", [7, 640])
def test_realmlp_schedules_use_the_beginning_of_an_update(total):
    t = np.arange(total) / total
    found = schedules.CosineLog(0.04, time_of_update=0.0).over_epoch(0, total, 1)
    np.testing.assert_allclose(found, 0.02 - 0.02 * np.cos(2 * np.pi * np.log2(1 + 15 * t)))
    expected = [
        0.15 if each <= 0.5 else 0.075 * (1 + math.cos(math.pi * (2 * each - 1))) for each in t
    ]
    found = schedules.FlatCosine(0.15, time_of_update=0.0).over_epoch(0, total, 1)
    np.testing.assert_allclose(found, expected, atol=1e-16)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-0.1, "weight_decay: expected a number >= 0; got -0.1"),
        ("cosin", "weight_decay: there is no schedule 'cosin'; did you mean 'cosine'"),
        ("reduce_on_plateau", "weight_decay: the schedule 'reduce_on_plateau' depends on the logs"),
    ],
)
def test_invalid_settings(value, message):
    with pytest.raises(ArgumentError, match=message):
        as_setting(value, "weight_decay", at_least=0)

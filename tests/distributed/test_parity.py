"""Several ranks train the same network as one process."""

from dataclasses import dataclass

import numpy as np
import pytest
from worlds import (
    CASES,
    ESSENTIAL,
    difference,
    history,
    normed,
    trained,
    trainer,
    values,
    with_dropout,
)

from gpunn.distributed import run_threads
from gpunn.metrics import Metric
from gpunn.optimizers import SGD

BOUND = {"float64": 1e-13, "float32": 2e-6}
"""The bound of the relative norm of the difference."""


@pytest.mark.parametrize(
    ("case", "dtype", "size"),
    [
        pytest.param(case, *world, marks=() if by_default else pytest.mark.full)
        for case in CASES
        for *world, by_default in (
            ("float64", 4, True),
            ("float32", 3, case in ESSENTIAL),
            ("float64", 2, False),
        )
    ],
)
def test_ranks_train_what_one_process_trains(case, dtype, size):
    options = {"epochs": 2, **CASES[case]}  # 12 updates, unless the case has fewer
    one = trained(dtype=dtype, **options)
    ranks = run_threads(size, lambda communicator: trained(communicator, dtype, **dict(options)))
    for rank in ranks[1:]:
        assert np.array_equal(values(rank), values(ranks[0]))
        assert history(rank) == history(ranks[0])
    arrays = ranks[0].model.parameters.to_host()
    for name, expected in one.model.parameters.to_host().items():
        assert difference(arrays[name], expected) <= BOUND[dtype], name
    for ours, theirs in zip(history(ranks[0]), history(one), strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            exact = name == "epoch" or ("accuracy" in name and "weights" not in case)
            tolerance = 1e-12 if exact else max(1e-12, BOUND[dtype])
            assert value == pytest.approx(theirs[name], rel=tolerance, abs=tolerance), name


def test_local_batch_norm_differs():
    """So synchronized results could not equal one process's results by accident."""
    given = {"layers": normed, "optimizer": lambda: SGD(0.05), "drop_last": True}
    one = trained(**given)
    local = run_threads(2, lambda each: trained(each, batch_norm="local", **given))
    assert difference(values(local[0]), values(one)) > 1e-3


@pytest.mark.parametrize("size", [2, 3])
def test_each_rank_has_a_part_of_the_optimizers_state(size):
    def slots(communicator):
        this = trained(communicator, epochs=1)
        return {name: slot.shape[0] for name, slot in this.device_state.step.slots.items()}

    found = run_threads(size, slots)
    whole = trained(epochs=1).model.parameters.values.shape[0]
    for name in ("mean", "square"):
        assert sum(each[name] for each in found) == whole
        assert max(each[name] for each in found) < whole


def test_a_world_of_one_has_the_bits_of_no_communicator():
    one = trained(dtype="float32", layers=with_dropout)
    (alone,) = run_threads(1, lambda each: trained(each, "float32", with_dropout))
    assert np.array_equal(values(alone), values(one))
    assert history(alone) == history(one)


@dataclass(eq=False)
class Rows(Metric):
    name = "rows"

    def measure(self, xp, predictions, targets, weights):
        return xp.sum(weights, keepdims=True)

    def result(self, summary, weight):
        return float(summary[0])


def test_an_evaluation_in_shares_has_each_row_once():
    random = np.random.default_rng(2)
    inputs, targets = random.normal(size=(10_007, 7)), random.integers(0, 3, 10_007)

    def go(communicator=None):
        this = trainer(communicator, "float32")
        this.metrics = ["accuracy", Rows()]
        return this.evaluate(inputs, targets, batch_size=1000)

    one = go()
    for found in run_threads(3, go):
        assert found["rows"] == 10_007
        assert found["accuracy"] == one["accuracy"]
        assert found["loss"] == pytest.approx(one["loss"], rel=1e-6)

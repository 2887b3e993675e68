"""If anything happens to a rank, all end with an error status, and print the reason once."""

import re
import signal
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from calls import Calls
from mpi import ended, needs_mpi, run, start
from worlds import X, Y, difference, history, trained, trainer, values

from gpunn.distributed import run_threads
from gpunn.errors import DistributedError, DivergenceError
from gpunn.optimizers import SGD

PROGRAM = Path(__file__).with_name("troubled_training.py")
WAITS = "has waited {} s for the other ranks"
STOPPED = "Training was {} after update 51"
ABORTED = {1, 1 | signal.SIGKILL}
"""MPICH's launcher joins the statuses by "or", and may count the rank that it kills."""

CASES = {
    "error in a step": (1, "raise", "step", ABORTED, "ValueError: there is trouble"),
    "error in a callback": (0, "raise", "callback", ABORTED, "ValueError: there is trouble"),
    "error at the start": (1, "raise", "start", ABORTED, "ValueError: there is trouble"),
    "exit in a step": (0, "exit", "step", ABORTED, "SystemExit: 3"),
    "exit in a callback": (0, "exit", "callback", None, "SystemExit: 3"),
    "exit at the start": (1, "exit", "start", ABORTED, "rank 0 " + WAITS.format(1)),
    "SIGKILL": (1, "SIGKILL", "step", None, None),
    "SIGSTOP in a step": (0, "SIGSTOP", "step", ABORTED, "rank 1 " + WAITS.format(1)),
    "SIGSTOP between": (0, "SIGSTOP", "callback", ABORTED, "rank 1 " + WAITS.format(1)),
    "SIGTERM": (1, "SIGTERM", "step", 143, STOPPED.format("ended by SIGTERM")),
    "SIGINT": (1, "SIGINT", "step", 0, STOPPED.format("interrupted by Ctrl-C")),
    "other data": (1, "data", "-", ABORTED, "DistributedError: data: rank 1 has"),
    "another seed": (1, "seed", "-", ABORTED, "DistributedError: network: rank 1 has"),
}

ELSEWHERE = (
    *("error in a callback", "error at the start", "exit in a step", "exit at the start"),
    *("SIGKILL", "SIGSTOP between", "SIGINT", "other data", "another seed"),
)
"""For the full run: other moments, what MPICH's launcher ends, and what threads show below."""


@needs_mpi
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.full if case in ELSEWHERE else []) for case in CASES],
)
def test_all_ranks_end(case, tmp_path):
    rank, what, where, expected, message = CASES[case]
    waits = re.search(r"waited (\d) s", message or "")
    timeout = waits[1] if waits else 60
    status, output = run(2, PROGRAM, rank, what, where, timeout, tmp_path)
    if expected is None:
        assert status != 0
    else:
        assert status in (expected if isinstance(expected, set) else {expected}), output
    if message is not None:
        assert output.count(message) == 1, output
    if what in ("SIGTERM", "SIGINT"):
        assert [path.name for path in tmp_path.iterdir() if path.stem == "51"] == ["51.gpunn"]


MISSING_RANK = """
import os, sys
import gpunn
if os.environ["PMI_RANK"] == "1":
    sys.exit(int(sys.argv[1]))
communicator = gpunn.distributed.communicator(timeout=1.0)
print(f"there are {communicator.size}")
"""


@needs_mpi
@pytest.mark.parametrize("ends", [0, pytest.param(3, marks=pytest.mark.full)])
def test_a_rank_that_ends_before_mpi_starts(ends):
    status, output = run(2, "-c", MISSING_RANK, ends)
    assert status != 0, output
    assert re.search(
        r"rank 0 has waited 1 s for the other ranks \(start of MPI; one of the 2", output
    )
    assert "there are" not in output


@needs_mpi
@pytest.mark.full  # "SIGTERM" above is a signal to one rank
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launcher_ends_all_ranks_after_the_same_update(number, tmp_path):
    process = start(2, PROGRAM, 0, "-", "-", 60, tmp_path)
    while not list(tmp_path.glob("*.gpunn")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, output = ended(process)
    assert output.count("Training was") == 1, output


def test_an_error_of_one_rank_is_that_of_all():
    def go(communicator):
        if communicator.rank == 1:
            return trained(communicator, batch_size=0)
        with pytest.raises(DistributedError, match=r"rank 1 has failed: .*batch_size") as error:
            trained(communicator)
        assert error.value.rank == 1
        return None

    with pytest.raises(ValueError, match="batch_size: expected an integer >= 1; got 0"):
        run_threads(3, go)


def diverging(communicator=None, on_divergence="stop"):
    return trained(
        communicator,
        "float32",
        optimizer=lambda: SGD(1e25),
        on_divergence=on_divergence,
        log_every=3,
        epochs=1,
    )


def test_all_ranks_find_the_same_divergence():
    with pytest.raises(DivergenceError) as alone:
        diverging()
    with pytest.raises(DivergenceError) as together:
        run_threads(3, diverging)
    assert str(together.value) == str(alone.value)


def test_training_can_begin_anew_after_an_error():
    def go(communicator=None):
        this = trainer(communicator, "float64")
        fit = {"epochs": 1, "batch_size": 16, "progress": False}
        refuse = Calls(on_epoch_end=Mock(side_effect=KeyError("refused")))
        for wrong in ({"batch_size": 0}, {"callbacks": [refuse]}):
            with pytest.raises((ValueError, KeyError, DistributedError)):
                this.fit(X, Y, **{**fit, **wrong})
        this.fit(X, Y, **fit)
        return values(this)

    one = go()
    for found in run_threads(3, go):
        assert difference(found, one) <= 1e-13


@pytest.mark.parametrize("choice", ["skip", "roll_back"])
def test_ranks_recover_together(choice, caplog):
    overflowing = X.copy()
    overflowing[60] = 1.7e308

    def go(communicator=None):
        this = trainer(communicator, on_divergence=choice, log_every=3)
        this.fit(overflowing, Y, epochs=3, batch_size=16, progress=False)
        return this

    one = go()
    assert caplog.text.count("left out") == 3
    ranks = run_threads(2, go)
    assert (values(ranks[0]) == values(ranks[1])).all()
    assert history(ranks[0]) == history(ranks[1])
    assert difference(values(ranks[0]), values(one)) <= 1e-13


DIFFERENT = {
    "sample_weight": [np.ones(103), np.full(103, 2.0)],
    "class_weight": [None, {0: 2.0}],
    "validation_data": [(X[:20], Y[:20]), (X[1:21], Y[:20])],
    "batch_norm": ["synchronized", "local"],
    "on_divergence": ["stop", "skip"],
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_ranks_that_are_to_train_otherwise_are_found_at_the_start(name):
    def go(communicator):
        given = {name: DIFFERENT[name][communicator.rank], "validation_split": 0.0}
        what = {"sample_weight": "data", "class_weight": "data", "validation_data": "validation d"}
        with pytest.raises(DistributedError, match=f"{what.get(name, name)}.*: rank 1 has"):
            trained(communicator, **given)

    run_threads(2, go)


def test_calls_in_another_order_are_an_error():
    def go(communicator):
        agreement = trained(communicator, epochs=1).ranks.agreement
        with pytest.raises(DistributedError, match="the ranks exchange different values: one, two"):
            agreement.gather(0, "two" if communicator.rank else "one")

    run_threads(2, go)


def test_state_that_is_not_finite_on_one_rank():
    """Each rank has a part of the optimizer's state, and all ranks end together."""

    def spoil(trainer, logs):
        state = trainer.state()
        state["optimizer.square"][-16] = np.inf  # a part of rank 1's
        trainer.set_state(state)

    def go(communicator):
        error = DistributedError if communicator.rank else DivergenceError
        with pytest.raises(error, match=r"optimizer: the state 'square' of 'dense_2\.biases' is "):
            trained(communicator, callbacks=[Calls(on_epoch_end=spoil)])

    run_threads(2, go)


def test_ranks_that_have_drifted_apart_are_found():
    def go(communicator):
        this = trained(communicator, epochs=1)
        step = this.device_state.step
        step.check_state()
        step.statistics.collect()
        step.check_equal()
        this.model.parameters.values[0] += communicator.rank
        step.check_state()
        step.statistics.collect()
        with pytest.raises(DistributedError, match="rank 1 and rank 0 have different parameters"):
            step.check_equal()

    run_threads(2, go)

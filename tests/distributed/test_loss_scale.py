"""All ranks share one loss scale."""

import numpy as np
import pytest
from worlds import X, difference, values

import gpunn
from gpunn.backends.numpy import NumpyBackend
from gpunn.distributed import run_threads
from gpunn.layers import Dense
from gpunn.optimizers import SGD

LARGE = 1e17
"""Inputs and targets whose gradients overflow with the first loss scales, on one rank."""


class Scaled(NumpyBackend):
    """A backend that scales the loss, although its products are not rounded."""

    def needs_loss_scale(self, dtype):
        return True


def go(communicator=None):
    model = gpunn.Sequential([Dense(1)], (7,), Scaled(threads=1), seed=1)
    trainer = gpunn.Trainer(
        model, "mean_squared_error", SGD(1e-36), communicator=communicator, log_every=1
    )
    inputs, targets = X[:96].copy(), np.zeros((96, 1))
    inputs[::12] *= LARGE
    targets[::12] = 10 * LARGE
    trainer.fit(inputs, targets, epochs=2, batch_size=12, shuffle=False, progress=False)
    state = trainer.state()
    return values(trainer), {
        name: int(state[name][0]) for name in ("updates", "good_updates", "loss_scale")
    }


@pytest.mark.filterwarnings("ignore:y. the targets have a mean of")
@pytest.mark.parametrize("size", [2, 3, 8])  # of eight, some own no parameter
def test_ranks_leave_out_the_same_updates(size):
    one, counts = go()
    assert counts["loss_scale"] < 2**16
    assert counts["updates"] < 16
    for found, theirs in run_threads(size, go):
        assert theirs == counts
        assert difference(found, one) <= 2e-6

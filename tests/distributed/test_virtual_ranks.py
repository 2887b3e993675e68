"""More ranks than a test machine can run together: one rank runs at a time, up to its exchanges."""

import numpy as np
import pytest
from training_steps import recipe_of
from worlds import WEIGHTS, X, Y, trainer

from gpunn.distributed import Communicator
from gpunn.layers import Dense, Dropout
from gpunn.optimizers import SGD
from gpunn.training.batches.batch_feed import Feed
from gpunn.training.batches.dataset import DatasetBuilder
from gpunn.training.batches.epoch_cursor import EpochCursor, EpochPlan
from gpunn.training.state import new_step


class Lonely(Communicator):
    """A rank whose other ranks do not answer; it stores what it would send."""

    def __init__(self, rank, size):
        super().__init__(rank, size)
        self.sent = []

    def all_to_all(self, blocks, out):
        self.sent.append(blocks.copy())
        out[...] = 0

    def all_gather(self, block, out):
        pass

    def gather(self, message):
        return [message] * self.size


def layers():
    return [Dense(5, activation="tanh"), Dropout(0.5), Dense(3)]


def gradient(communicator):
    """Return a rank's part of the gradient of an update of 100 rows."""
    this = trainer(communicator, "float64", layers, lambda: SGD(1.0))
    this.ranks.agreement.watchdog.stop()
    model = this.model
    builder = DatasetBuilder(model, this.loss, [])
    rows = builder.subset(builder.check(X[:100], Y[:100], WEIGHTS[:100]))
    step = new_step(recipe_of(this, 100, ranks=this.ranks))
    order = np.random.default_rng(1).permutation(100)
    feed = Feed(step, rows, order, np.ones((1, 1)))
    start = model.backend.to_host(model.parameters.values).copy()
    plan = EpochPlan(
        rows=100, batch_size=100, rows_per_update=100, shuffle=True, metric_names=["loss"]
    )
    loaded, _ = feed.load(EpochCursor(plan), 1)
    step.update(loaded)
    if communicator is None:
        return start - model.backend.to_host(model.parameters.values)
    (sent,) = communicator.sent
    return sent.reshape(-1)[: len(start)]


@pytest.mark.parametrize("size", [2, 7, 33, pytest.param(1024, marks=pytest.mark.full)])
def test_the_gradients_of_all_ranks_are_those_of_the_batch(size):
    whole = gradient(None)
    total = np.zeros_like(whole)
    for rank in range(size):
        total += gradient(Lonely(rank, size))
    assert np.abs(total - whole).max() <= 1e-14 * size

"""A small trainer, and a stand-in for trainers, for tests of callbacks."""

from types import SimpleNamespace

import numpy as np

import gpunn
from gpunn.metrics import Accuracy, Metric
from gpunn.monitor import directions
from gpunn.optimizers import Adam
from gpunn.training import History

X = np.random.default_rng(0).normal(size=(20, 3))
Y = X.sum(axis=1)


def trainer(optimizer=None, seed=0):
    model = gpunn.Sequential([gpunn.layers.Dense(1)], 3, "numpy", seed)
    return gpunn.Trainer(model, "mean_squared_error", optimizer or Adam(0.1))


def fit(this, **options):
    return this.fit(X, Y, **{"epochs": 3, "batch_size": 8, "progress": False, **options})


class Ranking(Metric):
    name = "ranking"


class Scripted:
    """Stands for a trainer whose epochs have prescribed logs."""

    def __init__(self, log_names=("epoch", "loss", "val_loss")):
        self.log_names = list(log_names)
        self.larger_is_better = directions([Accuracy(), Ranking()])
        self.history = History()
        self.epoch = self.updates = 0
        self.stop_reason = ""
        self.restored = None
        self.saved = []
        self.model = SimpleNamespace(save=lambda path: self.saved.append((self.epoch, path.name)))

    def snapshot(self):
        return self.epoch

    def restore(self, snapshot):
        self.restored = snapshot

    def save_checkpoint(self, path):
        self.saved.append((self.epoch, path.name, "resumable"))

    def run(self, callback, losses, name="val_loss"):
        callback.on_train_begin(self)
        for count, loss in enumerate(losses, 1):  # noqa: B007
            self.epoch += 1
            self.history.append({"epoch": self.epoch, name: loss})
            callback.on_epoch_end(self, self.history.rows[-1])
            if self.stop_reason:
                break
        callback.on_train_end(self)
        return count

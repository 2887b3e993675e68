"""Trains a tabular estimator's networks, in one thread or in several threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gpunn.backends.thread_count import is_alone
from gpunn.network import Sequential
from gpunn.randomness import generator
from gpunn.tables import Schema, Table
from gpunn.training.callbacks import EarlyStopping
from gpunn.training.history import History
from gpunn.training.together.train_together import train_together
from gpunn.training.trainer import Trainer


class Rows(NamedTuple):
    table: Table
    targets: np.ndarray
    weights: np.ndarray | None

    def take(self, rows: np.ndarray) -> Rows:
        weights = None if self.weights is None else self.weights[rows]
        return Rows(self.table.take(rows), self.targets[rows], weights)


class Fold(NamedTuple):
    """Training and validation rows; `kept` and `held` are their indices in `every`.

    If `kept` is None, all rows of `every` are for training. If `held` is None, `validation` was
    not split off from `every`.
    """

    every: Rows
    kept: np.ndarray | None
    held: np.ndarray | None
    validation: Rows

    @property
    def training(self) -> Rows:
        """The training rows, copied on demand, so that only one fold's copy is in memory."""
        return self.every if self.kept is None else self.every.take(self.kept)


class Encoded(NamedTuple):
    schema: Schema
    X: np.ndarray
    training: Rows
    X_val: np.ndarray
    validation: Rows


@dataclass(frozen=True, eq=False)
class Fitted:
    network: Sequential
    metric: str
    history: History
    score: float
    best_epoch: int
    epochs: int
    temperature: float = 1.0


@dataclass(frozen=True, eq=False)
class Fit:
    trainer: Trainer
    metric: str
    stopping: EarlyStopping
    arguments: Mapping[str, Any]  # of `Trainer.fit`
    X_val: np.ndarray

    @property
    def interrupted(self) -> bool:
        return self.trainer.history.stopped.startswith("interrupted")

    def result(self) -> Fitted:
        # The result does not refer to the rows, so their memory can be freed.
        trainer, stopping = self.trainer, self.stopping
        return Fitted(
            trainer.model,
            self.metric,
            trainer.history,
            float(stopping.best),
            int(stopping.best_epoch),
            int(trainer.epoch),
        )


def trained(fits: Iterable[Fit], together: bool, progress: bool) -> Iterator[Fit]:
    # Each thread trains a network on one compute thread. Within `gpunn.sklearn.together`, other
    # threads already train networks, so the networks of this call are trained in turn; the results
    # are bitwise identical.
    if together and not is_alone():
        fits = list(fits)
        prepared = [fit.trainer.prepare(**fit.arguments) for fit in fits]
        train_together(prepared, progress=progress)
        yield from fits
        return
    for fit in fits:
        fit.trainer.fit(**fit.arguments)
        yield fit


def seed_of(seed: int, fold: int, member: int) -> int:
    """Return the seed of a network; it does not depend on the number of networks."""
    if fold == member == 0:
        return seed
    return int(generator(seed, "network", fold, member).integers(2**31))

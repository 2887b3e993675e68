"""The network behind an estimator, made anew from its fitted attributes whenever it has to be."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunn.network import Sequential
from gpunn.sklearn.convergence import LearningRate
from gpunn.sklearn.layout import layer_units, layers_of, named_values
from gpunn.training.trainer import Trainer

__all__ = ["Engine"]

PREDICT_ROWS = 4096
"""Rows on the device at a time in prediction."""


class Engine:
    """What an estimator computes with, which is no part of what it has learned.

    The truth is in the estimator's `coefs_`, `intercepts_` and `normalization_`, host arrays that
    anybody may change: each use takes them to the device. In a pickle nothing of a device remains.

    Parameters
    ----------
    seed : int
        Of the dropout masks.

    Attributes
    ----------
    trainer : Trainer or None
        With the optimizer's state, for `partial_fit` to go on from.
    rate : LearningRate or None
        The trainer's, where scikit-learn's rules set it.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.trainer: Trainer | None = None
        self.rate: LearningRate | None = None
        self._network: Sequential | None = None
        self._made_from: tuple[Any, ...] = ()
        self._left: dict[str, Any] = {}
        self._lock = threading.RLock()

    def network(self, estimator: Any, dtype: str) -> Sequential:
        """Return a network with the estimator's fitted arrays."""
        units = layer_units(estimator.coefs_)
        values = named_values(estimator)
        made_from = (
            *(estimator.backend, dtype, units, estimator.activation),
            *(estimator.dropout, bool(estimator.batch_norm), bool(estimator.layer_norm)),
        )
        with self._lock:
            if self._network is None or self._made_from != made_from:
                self._forget_trainer()
                layers = layers_of(estimator, units)
                self._network = Sequential(
                    layers, units[0], estimator.backend, self.seed, dtype, values
                )
                self._made_from = made_from
            else:
                with self._network.exclusion.held("predict", training=False):
                    for name, value in values.items():
                        self._network.parameters[name] = value
            return self._network

    def outputs(self, estimator: Any, X: Any, dtype: str) -> np.ndarray:
        """Return the network's outputs for checked rows, dense or sparse, on the host."""
        with self._lock:
            network = self.network(estimator, dtype)
            if not hasattr(X, "toarray"):
                return network.predict(X, PREDICT_ROWS)
            X = X.tocsr()
            chunks = [
                network.predict(X[start : start + PREDICT_ROWS].toarray(), PREDICT_ROWS)
                for start in range(0, X.shape[0], PREDICT_ROWS)
            ]
            return np.concatenate(chunks)

    # ------------------------------------------------------------------------ going on training

    def take_trainer(self, trainer: Trainer, rate: LearningRate | None) -> None:
        """Keep a trainer, and forget the one before."""
        self.trainer, self.rate, self._left = trainer, rate, {}

    def take_up(self, trainer: Trainer, rate: LearningRate | None) -> None:
        """Keep a trainer that goes on where the one before it, or that of a pickle, ended."""
        left = self._left
        self.take_trainer(trainer, rate)
        if left:
            trainer.set_state(left["state"])
            trainer.epoch = left["epoch"]
            if rate is not None and left["rate"] is not None:
                rate.rate = left["rate"]

    def _forget_trainer(self) -> None:
        self._left = self._remains()
        self.trainer = self.rate = None

    def _remains(self) -> dict[str, Any]:
        if self.trainer is None:
            return self._left
        return {
            "state": self.trainer.state(),
            "epoch": self.trainer.epoch,
            "rate": None if self.rate is None else self.rate.rate,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy goes on from: host arrays and numbers."""
        return {"seed": self.seed, "left": self._remains()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Begin without a network."""
        self.__init__(state["seed"])  # type: ignore[misc]
        self._left = dict(state["left"])

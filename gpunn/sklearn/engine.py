"""Build an estimator's network and trainer from its fitted attributes when needed."""

import itertools
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from gpunn.backends.thread_count import is_alone
from gpunn.forks import ForkableLock
from gpunn.network import Sequential
from gpunn.sklearn.convergence import LearningRate
from gpunn.sklearn.layout import LOGISTIC, initial_values, layer_units, layers_of, named_values
from gpunn.sklearn.policy import Orders
from gpunn.training.trainer import Trainer

PREDICT_ROWS = 1024

MAX_UNUSED = 16
"""Maximum number of networks, and of lists of row orders, that a thread keeps for later fits."""


class Unused(threading.local):
    """Networks and draws that a thread keeps for later fits; None outside `reused_networks`."""

    networks: dict[tuple[Any, ...], Any] | None = None


UNUSED = Unused()


@contextmanager
def reused_networks() -> Iterator[None]:
    """In this context, an estimator can reuse the networks of this thread's earlier estimators."""
    outer, UNUSED.networks = UNUSED.networks, {}
    try:
        yield
    finally:
        UNUSED.networks = outer


@dataclass
class Draws:
    """An estimator's random draws; the fields are in the order of drawing."""

    random: np.random.RandomState
    coefs: Sequence[np.ndarray] = ()
    intercepts: Sequence[np.ndarray] = ()
    seed: int = 0
    split: Sequence[np.ndarray] | None = None
    orders: Orders | None = None


def draws_of(estimator: Any, units: tuple[int, ...], y: np.ndarray, shared: bool) -> Draws:
    """Draw the initial values of an estimator's network.

    In the context `reused_networks`, estimators with equal settings may share the same draws.
    """
    reused, seed, epochs = UNUSED.networks, estimator.random_state, int(estimator.max_iter)
    numbers = len(y) * epochs + sum(map(math.prod, itertools.pairwise(units)))
    if reused is None or not (shared and isinstance(seed, Integral) and numbers <= 1 << 19):
        return drawn(estimator, units)
    logistic, dropout = estimator.activation in LOGISTIC, bool(estimator.dropout)
    key: tuple[Any, ...] = int(seed), units, logistic, dropout, len(y), epochs
    if estimator.early_stopping:
        strata = estimator._strata(y)
        key = *key, estimator.validation_fraction, None if strata is None else strata.tobytes()
    if key not in reused:
        if len(reused) >= MAX_UNUSED:
            reused.clear()
        reused[key] = draws = drawn(estimator, units)
        draws.orders = Orders()
    found: Draws = reused[key]
    return found


def drawn(estimator: Any, units: tuple[int, ...]) -> Draws:
    random = check_random_state(estimator.random_state)
    coefs, intercepts = initial_values(estimator, units, random)
    return Draws(random, coefs, intercepts, random.randint(2**31) if estimator.dropout else 0)


class Engine:
    """An estimator's network and trainer, without the estimator's fitted arrays.

    Users may change the fitted arrays, so each use first copies these arrays to the device. A
    pickle contains no device arrays. `partial_fit` continues the training of `trainer`. If
    scikit-learn's rules set the learning rate, `rate` is this learning rate.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.trainer: Trainer | None = None
        self.rate: LearningRate | None = None
        self._network: Sequential | None = None
        self._made_from: tuple[Any, ...] = ()
        self._saved: dict[str, Any] = {}
        self._lock = ForkableLock()

    def network(self, estimator: Any, dtype: str) -> Sequential:
        units = layer_units(estimator.coefs_)
        values = named_values(estimator)
        flags = bool(estimator.batch_norm), bool(estimator.layer_norm), is_alone()
        layers = units, estimator.activation, estimator.dropout
        made_from = (estimator.backend, dtype, *layers, *flags, self.seed)
        with self._lock:
            if self._network is None or self._made_from != made_from:
                self._network, self._made_from = None, made_from
                if UNUSED.networks and isinstance(estimator.activation, str):
                    self._network = UNUSED.networks.pop(made_from, None)
            if self._network is None:
                chain, backend = layers_of(estimator, units), estimator.backend
                self._network = Sequential(chain, units[0], backend, self.seed, dtype, values)
            else:
                with self._network.exclusion.held("predict", training=False):
                    for name, value in values.items():
                        self._network.parameters[name] = value
            return self._network

    def release_network(self, estimator: Any) -> None:
        with self._lock:
            if UNUSED.networks is not None and isinstance(estimator.activation, str):
                assert self._network is not None
                UNUSED.networks[self._made_from] = self._network
                self._network = None

    def outputs(self, estimator: Any, X: Any, dtype: str) -> np.ndarray:
        with self._lock:
            borrowed = self._network is None
            network = self.network(estimator, dtype)
            if hasattr(X, "toarray"):
                X = X.tocsr()
                chunks = [
                    network.predict(X[start : start + PREDICT_ROWS].toarray(), PREDICT_ROWS)
                    for start in range(0, X.shape[0], PREDICT_ROWS)
                ]
                outputs = np.concatenate(chunks)
            else:
                outputs = network.predict(X, PREDICT_ROWS)
            if borrowed:
                self.release_network(estimator)
            return outputs

    def set_trainer(self, trainer: Trainer, rate: LearningRate | None) -> None:
        self.trainer, self.rate, self._saved = trainer, rate, {}

    def continue_trainer(self, trainer: Trainer, rate: LearningRate | None) -> None:
        # The new trainer gets the state of the old trainer, or the state in a pickle.
        saved = self._saved_state()
        self.set_trainer(trainer, rate)
        if saved:
            trainer.set_state(saved["state"])
            trainer.epoch = saved["epoch"]
            if rate is not None and saved["rate"] is not None:
                rate.rate = saved["rate"]

    def _saved_state(self) -> dict[str, Any]:
        if self.trainer is None:
            return self._saved
        return {
            "state": self.trainer.state(),
            "epoch": self.trainer.epoch,
            "rate": None if self.rate is None else self.rate.rate,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {"seed": self.seed, "left": self._saved_state()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # The network is built when it is first used.
        self.__init__(state["seed"])  # type: ignore[misc]
        self._saved = dict(state["left"])

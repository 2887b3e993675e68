"""scikit-learn's MLPClassifier; an epoch is a partial_fit, which keeps the optimizer's state."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks.adapters import AfterEpoch, checked
from benchmarks.work import Task, initial_weights


class Sklearn:
    """`MLPClassifier.partial_fit`."""

    def train(
        self, task: Task, X: np.ndarray, y: np.ndarray, seed: int, after_epoch: AfterEpoch
    ) -> None:
        model = WithInitialWeights(
            task.sizes[1:-1],
            solver=task.optimizer,
            learning_rate_init=task.learning_rate,
            batch_size=task.batch_size,
            alpha=0,
            momentum=0,
            nesterovs_momentum=False,
            random_state=seed,
        )
        model.initial = initial_weights(task.sizes, seed)
        classes = np.arange(task.sizes[-1])
        while True:
            began = time.perf_counter()
            model.partial_fit(X, y, classes=classes)
            checked(model.loss_)
            if after_epoch(time.perf_counter() - began, model.predict):
                return


class WithInitialWeights(MLPClassifier):  # type: ignore[misc]
    """Its own are Glorot's, which nothing public changes."""

    def _init_coef(self, fan_in: int, fan_out: int, dtype: Any) -> tuple[Any, Any]:
        return self.initial.pop(0).astype(dtype), np.zeros(fan_out, dtype)

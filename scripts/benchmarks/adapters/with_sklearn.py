"""scikit-learn's MLPClassifier; an epoch is a partial_fit, which keeps the optimizer's state."""

import time
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks.adapters import AfterEpoch, Epoch, checked
from benchmarks.work import Rows, Task, initial_weights


class Sklearn:
    def train(self, task: Task, rows: Rows, seed: int, after_epoch: AfterEpoch) -> None:
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
        model.initial = initial_weights(task, seed)
        classes = np.arange(task.sizes[-1])
        while True:
            began = time.perf_counter()
            model.partial_fit(rows.X, rows.y, classes=classes)
            logs = checked({"loss": model.loss_})
            if after_epoch(Epoch(time.perf_counter() - began, logs, model.predict)):
                return


class WithInitialWeights(MLPClassifier):  # type: ignore[misc]
    """A public argument cannot change the default weights (Glorot)."""

    def _init_coef(self, fan_in: int, fan_out: int, dtype: Any) -> tuple[Any, Any]:
        return self.initial.pop(0).astype(dtype), np.zeros(fan_out, dtype)

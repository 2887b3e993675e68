"""scikit-learn's rules for the order of rows, learning rates, stopping and divergence."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from gpunn.schedules import Constant
from gpunn.sklearn.convergence import Convergence, LearningRate
from gpunn.training.state import Snapshot
from gpunn.training.trainer_protocol import TrainerProtocol
from gpunn.training.training_policy import TrainingPolicy

Score = Callable[[np.ndarray], float]


@dataclass
class Orders:
    """The orders of rows that a generator has drawn so far: `table[:drawn]`."""

    table: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.int64))
    drawn: int = 0


class EstimatorPolicy(TrainingPolicy):
    """Shuffle rows, stop training and change the learning rate as scikit-learn does.

    If the loss is infinite or NaN, training continues, and `fault` is the first error message. With
    early stopping, `best` is a snapshot of the epoch with the best score. A schedule spans
    `duration` epochs, although each `partial_fit` trains only one epoch.
    """

    validation_metrics: ClassVar[Mapping[str, bool | None]] = {"score": True}
    finds_causes = False

    def __init__(self, duration: int) -> None:
        self.duration = duration

    def use(
        self,
        convergence: Convergence,
        random: np.random.RandomState,
        score: Score | None,
        weighted: bool,
        orders: Orders | None = None,
    ) -> None:
        self.batch_means, self._orders = weighted, orders
        self._convergence, self._random, self._score = convergence, random, score
        self.best: Snapshot | None = None
        self.fault = ""
        self.reads_state = convergence.early_stopping
        self._order_so_far: np.ndarray | None = None
        self._drawn = 0

    def begin(self, trainer: TrainerProtocol) -> None:
        if self._convergence.early_stopping:
            self.best = trainer.snapshot()  # until an epoch has the best score

    def orders(self, trainer: TrainerProtocol, rows: int, epochs: int) -> np.ndarray:
        first, self._drawn, kept = self._drawn, self._drawn + epochs, self._orders
        if kept is None:
            return np.stack([self._shuffle(rows) for _ in range(epochs)])
        if not kept.drawn:
            kept.table = np.empty((self.duration, rows), np.int64)
        for number in range(kept.drawn, self._drawn):
            self._order_so_far = kept.table[number - 1] if number else None
            kept.table[number] = self._shuffle(rows)
            kept.drawn = number + 1
        return kept.table[first : self._drawn]

    def _shuffle(self, rows: int) -> np.ndarray:
        # Each epoch shuffles the order of the previous epoch, as `sklearn.utils.shuffle` does.
        shuffled = np.arange(rows)
        self._random.shuffle(shuffled)
        if self._order_so_far is not None:
            shuffled = self._order_so_far[shuffled]
        self._order_so_far = shuffled
        return shuffled

    def mark_orders(self) -> None:
        if self._orders is None:
            self._marked = self._random.get_state(), self._order_so_far, self._drawn

    def undo_orders(self, count: int) -> None:
        if not self._drawn:  # with `shuffle=False`, no order is drawn
            return
        self._drawn -= count
        if count and self._orders is None:
            assert self._order_so_far is not None
            rows = len(self._order_so_far)
            state, self._order_so_far, marked = self._marked
            self._random.set_state(state)
            for _ in range(marked, self._drawn):
                self._shuffle(rows)

    def learning_rates(self, trainer: TrainerProtocol, updates: int, duration: int) -> np.ndarray:
        schedule = trainer.optimizer.schedule
        if isinstance(schedule, LearningRate):
            return np.full(updates, schedule.rate)
        return super().learning_rates(trainer, updates, max(duration, self.duration))

    def has_constant_rate(self, trainer: TrainerProtocol) -> bool:
        schedule = trainer.optimizer.schedule
        if isinstance(schedule, LearningRate):
            return self._convergence.mode == "constant"
        return type(schedule) is Constant

    def score(self, outputs: np.ndarray) -> dict[str, float]:
        assert self._score is not None
        return {"score": self._score(outputs)}

    def observe(self, trainer: TrainerProtocol, logs: Mapping[str, float]) -> str:
        reason = self._convergence.observe(logs["loss"], logs.get("val_score"))
        if self._convergence.improved:
            self.best = trainer.snapshot()
        return reason

    def diverged(self, message: str) -> None:
        self.fault = self.fault or message

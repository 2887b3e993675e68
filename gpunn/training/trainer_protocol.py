"""The trainer's attributes that other modules use without importing the trainer."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from gpunn.distributed.ranks import Ranks
from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.network import Sequential
from gpunn.optimizers import Optimizer
from gpunn.training.batches.epoch_cursor import EpochCursor
from gpunn.training.evaluation import Evaluator
from gpunn.training.history import History
from gpunn.training.state import Progress, Snapshot, TrainingState
from gpunn.typing import Array


class TrainerProtocol(Protocol):
    model: Sequential
    loss: Loss
    optimizer: Optimizer
    metrics: list[Metric]
    validation_metrics: list[Metric]
    gradient_accumulation: int
    log_every: int
    on_divergence: str
    policy: Any
    callbacks: list[Any]
    log_names: list[str]
    history: History
    progress: Progress
    device_state: TrainingState
    evaluator: Evaluator
    epoch: int
    last_epoch: int
    updates: int
    cursor: EpochCursor | None
    stop_reason: str
    resumed: bool
    ranks: Ranks
    batch_norm: str

    @property
    def services(self) -> dict[str, Callable[..., object]]: ...

    @property
    def every_metric(self) -> list[Metric]: ...

    @property
    def metric_names(self) -> list[str]: ...

    @property
    def larger_is_better(self) -> dict[str, bool | None]: ...

    def log_names_of(self, validated: bool) -> list[str]: ...

    def can_checkpoint(self) -> bool: ...

    def snapshot(self) -> Snapshot: ...

    def snapshot_to_host(self, snapshot: Snapshot) -> dict[str, np.ndarray]: ...

    def snapshot_from_host(self, arrays: Mapping[str, np.ndarray]) -> Snapshot: ...

    def restore(self, snapshot: Snapshot) -> None: ...

    def last_gradients(self) -> dict[str, Array]: ...

    def state(self) -> dict[str, np.ndarray]: ...

    def save_checkpoint(self, path: Any) -> None: ...

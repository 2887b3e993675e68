"""Training: one step, epochs of steps, and what happens beside them."""

# Callbacks are known by name once they are defined.
from gpunn.training import live, logs, trackers  # noqa: F401
from gpunn.training.augmentation import BatchRandom
from gpunn.training.history import History
from gpunn.training.norms import NormLog
from gpunn.training.trainer import Trainer
from gpunn.transfer import WeightsReport

__all__ = ["BatchRandom", "History", "NormLog", "Trainer", "WeightsReport"]

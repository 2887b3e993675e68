"""Training: one step, epochs of steps, and what happens beside them."""

from gpunn.training.history import History
from gpunn.training.norms import NormLog
from gpunn.training.trainer import Trainer

__all__ = ["History", "NormLog", "Trainer"]

"""Training: one step, epochs of steps, and what happens beside them."""

from gpunn.training.history import History
from gpunn.training.trainer import Trainer

__all__ = ["History", "Trainer"]

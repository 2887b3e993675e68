"""Train networks: steps, epochs, callbacks, checkpoints, and recovery from divergence."""

from gpunn.augmentations import BatchRandom
from gpunn.training.callbacks import NormLog
from gpunn.training.fit import Fit
from gpunn.training.history import History
from gpunn.training.together.fit_result import FitResult, StopRule
from gpunn.training.together.halving import Halving
from gpunn.training.together.train_together import train_together
from gpunn.training.trainer import Trainer
from gpunn.transfer import WeightsReport

__all__ = [
    "BatchRandom",
    "Fit",
    "FitResult",
    "Halving",
    "History",
    "NormLog",
    "StopRule",
    "Trainer",
    "WeightsReport",
    "train_together",
]

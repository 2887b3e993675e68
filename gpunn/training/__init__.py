"""Train networks: steps, epochs, callbacks, checkpoints, and recovery from divergence."""

import sys

from gpunn.augmentations import BatchRandom
from gpunn.distributed import ranks
from gpunn.training import training_policy
from gpunn.training.batches import epoch_cursor
from gpunn.training.callbacks import (
    NormLog,
    epoch_logs,
    experiment_trackers,
    live_plot,
    norm_log,
)
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

# Pickles of earlier releases name these modules by their former paths.
for _former, _module in {
    "epoch_cursor": epoch_cursor,
    "live": live_plot,
    "logs": epoch_logs,
    "norms": norm_log,
    "policies": training_policy,
    "ranks": ranks,
    "trackers": experiment_trackers,
}.items():
    sys.modules[f"{__name__}.{_former}"] = _module

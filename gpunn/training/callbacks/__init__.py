"""Callbacks of training: early stopping, checkpoints, logs, live plots, experiment trackers."""

from gpunn.training.callbacks.base import Callback
from gpunn.training.callbacks.early_stopping import EarlyStopping
from gpunn.training.callbacks.epoch_logs import CSVLog, JSONLinesLog, TensorBoard
from gpunn.training.callbacks.experiment_trackers import MLflow, WandB
from gpunn.training.callbacks.live_plot import LivePlot
from gpunn.training.callbacks.model_checkpoint import ModelCheckpoint
from gpunn.training.callbacks.norm_log import NormLog

__all__ = [
    "CSVLog",
    "Callback",
    "EarlyStopping",
    "JSONLinesLog",
    "LivePlot",
    "MLflow",
    "ModelCheckpoint",
    "NormLog",
    "TensorBoard",
    "WandB",
]

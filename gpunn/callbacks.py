"""Callbacks under a short name; they are defined in `gpunn.training`."""

from gpunn.training.callbacks import Callback, EarlyStopping, ModelCheckpoint
from gpunn.training.live import LivePlot
from gpunn.training.logs import CSVLog, JSONLinesLog, TensorBoard
from gpunn.training.norms import NormLog
from gpunn.training.trackers import MLflow, WandB

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

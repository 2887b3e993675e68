"""Callbacks under a short name; they are defined in `gpunn.training`."""

from gpunn.training.callbacks import Callback, EarlyStopping, ModelCheckpoint
from gpunn.training.live import LivePlot
from gpunn.training.logs import CSVLog, JSONLinesLog, TensorBoard
from gpunn.training.norms import NormLog

__all__ = [
    "CSVLog",
    "Callback",
    "EarlyStopping",
    "JSONLinesLog",
    "LivePlot",
    "ModelCheckpoint",
    "NormLog",
    "TensorBoard",
]

"""Callbacks under a short name; they are defined in `gpunn.training.callbacks`."""

from gpunn.training.callbacks import (
    Callback,
    CSVLog,
    EarlyStopping,
    JSONLinesLog,
    LivePlot,
    MLflow,
    ModelCheckpoint,
    NormLog,
    TensorBoard,
    WandB,
)

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

"""Gives `gpunn.training.callbacks`, which defines the callbacks, a shorter name."""

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

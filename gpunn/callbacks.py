"""A short name for `gpunn.training.callbacks`, which defines the callbacks."""

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

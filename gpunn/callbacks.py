"""The callbacks, under a shorter name than that of `gpunn.training.callbacks`."""

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

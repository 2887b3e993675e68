"""The callbacks of `gpunn.training.callbacks`, under a shorter module name."""

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

"""Callbacks under a short name; they are defined in `gpunn.training.callbacks`."""

from gpunn.training.callbacks import (
    Callback,
    CSVLog,
    EarlyStopping,
    JSONLinesLog,
    ModelCheckpoint,
)
from gpunn.training.norms import NormLog

__all__ = ["CSVLog", "Callback", "EarlyStopping", "JSONLinesLog", "ModelCheckpoint", "NormLog"]

"""Checkpoints: model files that also hold what training needs to continue.

The description has the key "training", in JSON types, and the arrays that only training needs have
names that begin with "training.". What both mean is known to `gpunn.training.checkpoint`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.errors import ModelFileError
from gpunn.storage.models import Description, ModelContent, description_text, read_model

__all__ = ["CheckpointContent", "checkpoint_content", "read_checkpoint"]


@dataclass(frozen=True)
class CheckpointContent(ModelContent):
    """What a checkpoint is to hold, on the host, and the epochs and updates done by then."""

    epoch: int
    updates: int


def checkpoint_content(
    description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> CheckpointContent:
    """Return the content of a checkpoint; an ArgumentError unless JSON can hold the description."""
    done = description["training"]
    return CheckpointContent(arrays, description_text(description), done["epoch"], done["updates"])


def read_checkpoint(
    path: str | Path,
) -> tuple[Description, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return what a checkpoint holds, as `read_model` does, and raise its errors.

    A file without training state is a ModelFileError, too.
    """
    description, values, state = read_model(path)
    if description.training is None:
        raise ModelFileError(
            f"{path}: holds a model without training state; it can be loaded with load_model"
        )
    return description, values, state

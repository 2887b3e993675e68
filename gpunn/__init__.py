"""A neural-network trainer that runs the same training loop on NumPy or CuPy arrays."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gpunn import (
        activations,
        callbacks,
        data,
        errors,
        initializers,
        interchange,
        layers,
        losses,
        metrics,
        optimizers,
        reporting,
        schedules,
    )
    from gpunn.backends import available_backends, get_backend
    from gpunn.network import Sequential
    from gpunn.neural_network import NeuralNetwork
    from gpunn.saving import load_model
    from gpunn.training import History, Trainer

__all__ = [
    "History",
    "NeuralNetwork",
    "Sequential",
    "Trainer",
    "activations",
    "available_backends",
    "callbacks",
    "data",
    "errors",
    "get_backend",
    "initializers",
    "interchange",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "optimizers",
    "reporting",
    "schedules",
]

# Everything is imported when it is first asked for, so that `import gpunn` costs next to nothing.
_HOMES = {
    "History": "gpunn.training",
    "NeuralNetwork": "gpunn.neural_network",
    "Sequential": "gpunn.network",
    "Trainer": "gpunn.training",
    "available_backends": "gpunn.backends",
    "get_backend": "gpunn.backends",
    "load_model": "gpunn.saving",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in __all__:
        value = importlib.import_module(f"gpunn.{name}")
    else:
        raise AttributeError(f"module 'gpunn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

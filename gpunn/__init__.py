"""A neural-network trainer that runs the same training loop on NumPy or CuPy arrays.

The examples in docstrings assume `import numpy as np` and `import gpunn`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunn.version import __version__ as __version__

if TYPE_CHECKING:
    from typing import Any

    from gpunn import (
        activations,
        augmentations,
        callbacks,
        data,
        distributed,
        errors,
        initializers,
        interchange,
        layers,
        losses,
        metrics,
        optimizers,
        reporting,
        schedules,
        tables,
        tabular,
    )
    from gpunn import sklearn as sklearn
    from gpunn.backends import available_backends, get_backend
    from gpunn.load import load_model
    from gpunn.network import Sequential
    from gpunn.neural_network import NeuralNetwork
    from gpunn.training import Halving, History, Trainer, train_together

__all__ = [
    "Halving",
    "History",
    "NeuralNetwork",
    "Sequential",
    "Trainer",
    "activations",
    "augmentations",
    "available_backends",
    "callbacks",
    "data",
    "distributed",
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
    "tables",
    "tabular",
    "train_together",
]

# Everything is imported at its first use, so that `import gpunn` is fast.
_MODULES = {
    "Halving": "gpunn.training",
    "History": "gpunn.training",
    "NeuralNetwork": "gpunn.neural_network",
    "Sequential": "gpunn.network",
    "Trainer": "gpunn.training",
    "available_backends": "gpunn.backends",
    "get_backend": "gpunn.backends",
    "load_model": "gpunn.load",
    "train_together": "gpunn.training",
}


# Subpackages, and the packages that they need. `__all__` lacks them, to work without these.
_OPTIONAL = {"sklearn": "sklearn"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    from gpunn.forks import IMPORTING

    with IMPORTING:
        if name in _MODULES:
            value = getattr(import_module(_MODULES[name]), name)
        elif name in __all__ or name in _OPTIONAL:
            value = import_module(f"gpunn.{name}")
        else:
            raise AttributeError(f"module 'gpunn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from importlib.util import find_spec

    usable = [name for name, package in _OPTIONAL.items() if find_spec(package) is not None]
    return sorted([*__all__, *usable, *(name for name in globals() if name.startswith("__"))])

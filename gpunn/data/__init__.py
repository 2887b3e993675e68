"""Data sets on the host: loaders for arrays, CSV files and images, and two bundled data sets.

The loaders return NumPy arrays and need no backend.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gpunn.forks import IMPORTING

if TYPE_CHECKING:
    from gpunn.data.arrays import load_npy, load_npz
    from gpunn.data.credit_risk import credit_risk_file
    from gpunn.data.csv import CSVData, load_csv
    from gpunn.data.digits import load_digits
    from gpunn.data.idx import read_idx
    from gpunn.data.images import load_images
    from gpunn.data.mnist import load_mnist

__all__ = [
    "CSVData",
    "credit_risk_file",
    "load_csv",
    "load_digits",
    "load_images",
    "load_mnist",
    "load_npy",
    "load_npz",
    "read_idx",
]

# Imported at first use: zipfile, gzip and dataclasses take a quarter as long as NumPy to import.
_MODULES = {
    "CSVData": "csv",
    "credit_risk_file": "credit_risk",
    "load_csv": "csv",
    "load_digits": "digits",
    "load_images": "images",
    "load_mnist": "mnist",
    "load_npy": "arrays",
    "load_npz": "arrays",
    "read_idx": "idx",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with IMPORTING:
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])

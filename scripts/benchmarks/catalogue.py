"""Who competes: what each needs, without importing any of it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Competitor:
    """One library, driven in one way.

    Attributes
    ----------
    library : str
        Of several competitors of one library the fastest counts.
    adapter : str
        Module of `adapters` and class in it.
    imports : str
        What its user's script begins with.
    uses : str
        Names in that script that are only loaded when they are used.
    modules : tuple of str
        That must be installed.
    packages : tuple of str
        Distributions whose sizes, with all that they require, make up its own.
    hidden : tuple of str
        Modules that its process does not find.
    environment : dict
        Variables that its process starts with.
    compiler : bool
        Whether it needs a C++ compiler.
    by_default : bool
        Whether it takes part if nobody is named.
    """

    library: str
    adapter: str
    imports: str
    modules: tuple[str, ...]
    packages: tuple[str, ...]
    uses: str = ""
    hidden: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    compiler: bool = False
    by_default: bool = True

    def missing(self) -> str:
        """Return what it lacks here, or ""."""
        lacking = [name for name in self.modules if importlib.util.find_spec(name) is None]
        if self.compiler and not any(map(shutil.which, ("g++", "clang++"))):
            lacking.append("a C++ compiler")
        return ", ".join(lacking)


GPUNN = "import gpunn"
GPUNN_USES = "gpunn.Sequential; gpunn.Trainer; gpunn.layers.Dense; gpunn.optimizers.Adam"
TORCH = "import torch"
JAX = "import jax, jax.numpy, optax"

# glibc returns freed memory to the system at once, and each step faults it in again, unless told
# to keep it. PyTorch's users install another allocator for that; these variables do as well.
KEEP_MEMORY = {
    "MALLOC_TOP_PAD_": str(1 << 28),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
}

COMPETITORS = {
    "gpunn": Competitor(
        "gpunn", "with_gpunn.Gpunn", GPUNN, ("gpunn", "numba"), ("gpunn", "numba"), GPUNN_USES
    ),
    "gpunn-numpy": Competitor(
        "gpunn",
        "with_gpunn.Gpunn",
        GPUNN,
        ("gpunn",),
        ("gpunn",),
        GPUNN_USES,
        hidden=("numba",),
    ),
    "jax-scan": Competitor(
        "JAX", "with_jax.Scan", JAX, ("jax", "optax"), ("jax", "jaxlib", "optax")
    ),
    "jax-loop": Competitor(
        "JAX", "with_jax.Loop", JAX, ("jax", "optax"), ("jax", "jaxlib", "optax")
    ),
    "torch": Competitor("PyTorch", "with_torch.Eager", TORCH, ("torch",), ("torch",)),
    "torch-tuned": Competitor(
        "PyTorch", "with_torch.Eager", TORCH, ("torch",), ("torch",), environment=KEEP_MEMORY
    ),
    "torch-compile": Competitor(
        "PyTorch",
        "with_torch.Compiled",
        TORCH,
        ("torch",),
        ("torch",),
        environment=KEEP_MEMORY,
        compiler=True,
        by_default=False,
    ),
    "keras": Competitor(
        "Keras",
        "with_keras.Keras",
        "import keras",
        ("keras", "jax"),
        ("keras", "jax", "jaxlib"),
        environment={"KERAS_BACKEND": "jax"},
    ),
    "sklearn": Competitor(
        "scikit-learn",
        "with_sklearn.Sklearn",
        "from sklearn.neural_network import MLPClassifier",
        ("sklearn",),
        ("scikit-learn",),
    ),
}

FLOOR = "gemm"
"""The products of a step and nothing else."""

FLOORS = {
    FLOOR: Competitor("NumPy", "with_gemm.NumpyProducts", "import numpy", ("numpy",), ("numpy",)),
    "gemm-torch": Competitor(
        "PyTorch", "with_torch.TorchProducts", TORCH, ("torch",), ("torch",), by_default=False
    ),
}

EVERYBODY = {**COMPETITORS, **FLOORS}
SUBJECTS = ("gpunn", "gpunn-numpy")


THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def process_environment(competitor: Competitor, threads: int) -> dict[str, str]:
    """Return the environment of its process."""
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), **competitor.environment}


def peers(names: Sequence[str]) -> list[str]:
    """Return those that are neither gpunn's own nor a floor."""
    return [name for name in names if name in COMPETITORS and name not in SUBJECTS]

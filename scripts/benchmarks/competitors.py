"""The competing libraries and their requirements, without importing any of them."""

import importlib.metadata
import os
import shutil
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Competitor:
    library: str  # if a library has several competitors, the fastest counts
    adapter: str  # a module of `adapters` and a class in it
    packages: tuple[str, ...]  # required distributions, whose files make up its size
    imports: str  # the first line of a user's script
    uses: str = ""  # names in that script that are loaded on first use
    environment: dict[str, str] = field(default_factory=dict)  # variables of its process
    compiler: bool = False  # whether it needs a C++ compiler
    by_default: bool = True  # whether it takes part without --only
    plain_only: bool = False  # whether it only trains dense layers with ReLU

    def missing(self) -> str:
        lacking = [name for name in self.packages if version(name) is None]
        if self.compiler and not any(map(shutil.which, ("g++", "clang++"))):
            lacking.append("a C++ compiler")
        return ", ".join(lacking)


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


GPUNN = (
    "import gpunn",
    "gpunn.Sequential; gpunn.Trainer; gpunn.layers.Dense; gpunn.optimizers.Adam",
)
TORCH = (("torch",), "import torch")
JAX = (("jax", "jaxlib", "optax"), "import jax, jax.numpy, optax")

# By default glibc returns freed memory to the system immediately, and each step faults it in again.
# PyTorch's users install another allocator against that; these variables have the same effect.
KEEP_MEMORY = {
    "MALLOC_TOP_PAD_": str(1 << 28),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
}

TRAINERS = {
    "gpunn": Competitor("gpunn", "with_gpunn.Gpunn", ("gpunn",), *GPUNN),
    "gpunn-numpy": Competitor(
        "gpunn", "with_gpunn.Gpunn", ("gpunn",), *GPUNN, environment={"GPUNN_KERNELS": "off"}
    ),
    "jax-scan": Competitor("JAX", "with_jax.Scan", *JAX),
    "torch": Competitor("PyTorch", "with_torch.Eager", *TORCH),
    "torch-tuned": Competitor("PyTorch", "with_torch.Eager", *TORCH, environment=KEEP_MEMORY),
    "torch-compile": Competitor(
        "PyTorch",
        "with_torch.Compiled",
        *TORCH,
        environment=KEEP_MEMORY,
        compiler=True,
        by_default=False,
    ),
    "keras": Competitor(
        "Keras",
        "with_keras.Keras",
        ("keras", "jax", "jaxlib"),
        "import keras",
        environment={"KERAS_BACKEND": "jax"},
    ),
    "sklearn": Competitor(
        "scikit-learn",
        "with_sklearn.Sklearn",
        ("scikit-learn",),
        "from sklearn.neural_network import MLPClassifier",
        plain_only=True,
    ),
}

FLOOR = "gemm"
"""Only the products of a step."""

EVERYBODY = {
    **TRAINERS,
    FLOOR: Competitor("NumPy", "with_gemm.NumpyProducts", ("numpy",), "import numpy"),
}
SUBJECTS = ("gpunn", "gpunn-numpy")
PEERS = tuple(name for name in TRAINERS if not name.startswith("gpunn"))

THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)


def process_environment(name: str, threads: int) -> dict[str, str]:
    own = EVERYBODY[name].environment
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), **own}

"""Every private name of CuPy that the emulator uses, for one release of CuPy.

CuPy's Cython modules call each other through C function pointers, exported as capsules in each
module's ``__pyx_capi__`` and read once, when the importing module is loaded. Replacing the capsules
of the CUDA runtime and driver modules before ``import cupy`` therefore replaces CUDA for all of
CuPy's own host code, which stays as its authors compiled it.
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import EmulatorError

CUPY_VERSION = "14.2.0"
DISTRIBUTION = "cupy-cuda13x"
CUBLAS_SONAME = "libcublas.so.13"
# cuda.pathfinder insists on it before it hands out cuBLAS; nothing in it is called.
CUBLASLT_SONAME = "libcublasLt.so.13"
NCCL_SONAME = "libnccl.so.2"

# CuPy chooses its own reductions and scans, not CUB's prebuilt device code, when this is empty.
ENVIRONMENT = {"CUPY_ACCELERATORS": ""}

# Functions of these modules that work without a device and stay CuPy's own.
KEPT = {
    "_getCUDAMajorVersion",
    "check_status",
    "get_build_version",
    "make_Extent",
    "make_PitchedPtr",
    "make_Pos",
    "runtimeGetVersion",
}

# "except? X" of each C function: the value that says "look for a Python exception".
ERROR_VALUES = {"intptr_t": "0", "uintmax_t": "0", "unsigned int": "0", "float": "0", "int": "-1"}
ERROR_VALUES_BY_NAME = {"deviceGetLimit": "-1", "funcGetAttribute": "-2"}


def check() -> None:
    if "cupy" in sys.modules:
        raise EmulatorError("call emulated_cuda.install() before the first `import cupy`")
    version = installed_version()
    if version != CUPY_VERSION:
        raise EmulatorError(
            f"emulated_cuda is pinned to CuPy {CUPY_VERSION} ({DISTRIBUTION}), whose private names "
            f"it replaces; found: {version or 'not installed'}. "
            f"Install {DISTRIBUTION}=={CUPY_VERSION}."
        )


def installed_version() -> str | None:
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed() -> bool:
    return installed_version() == CUPY_VERSION and shutil.which("g++") is not None


def runtime_module() -> ModuleType:
    """The module whose capsules are the CUDA runtime (cudaMalloc and others)."""
    return importlib.import_module("cupy_backends.cuda.api.runtime")


def driver_module() -> ModuleType:
    """The module whose capsules are the CUDA driver (cuModuleLoadData, cuLaunchKernel)."""
    return importlib.import_module("cupy_backends.cuda.api.driver")


def extension(name: str) -> str:
    package = importlib.import_module("cupy_backends.cuda.libs")
    spec = importlib.machinery.PathFinder.find_spec(name, package.__path__)
    if spec is None or spec.origin is None:
        raise EmulatorError(f"CuPy {CUPY_VERSION} without its {name} module: a broken install?")
    return spec.origin


def replace_compiler(load: Callable[..., Any]) -> None:
    """Make CuPy build every kernel with ``load(source, options, name_expressions, module)``."""
    compiler: Any = importlib.import_module("cupy.cuda.compiler")
    function = importlib.import_module("cupy.cuda.function")

    def compile_module_with_cache(
        source: str,
        options: tuple[str, ...] = (),
        *,
        backend: str = "nvrtc",
        name_expressions: Any = None,
        to_ltoir: bool = False,
        **ignored: Any,
    ) -> Any:
        if to_ltoir:
            raise EmulatorError("emulated_cuda cannot build LTO-IR")
        image, mapping = load(source, tuple(options), tuple(name_expressions or ()))
        module = function.Module()
        module.load(image)
        if mapping:
            module._set_mapping(mapping)
        return module

    compiler._compile_module_with_cache = compile_module_with_cache


def compile_exception(message: str, source: str, options: tuple[str, ...]) -> Exception:
    compiler = importlib.import_module("cupy.cuda.compiler")
    error: Exception = compiler.CompileException(message, source, "kernel.cu", options, "g++")
    return error


def cuda_error(status: int) -> Exception:
    error: Exception = runtime_module().CUDARuntimeError(status)
    return error


def pointer_attributes(device: int, address: int, memory_type: int) -> Any:
    return runtime_module().PointerAttributes(device, address, 0, memory_type)


@functools.cache  # a test may say that nothing is installed
def site_folder() -> Path:
    spec = importlib.util.find_spec("cupy")
    if spec is None or spec.origin is None:
        raise EmulatorError("CuPy is not installed")
    return Path(spec.origin).parents[1]


def header_folder() -> str:
    """The folder of the headers that CuPy's kernels include (cupy/carray.cuh and others)."""
    core = importlib.import_module("cupy._core.core")
    folder: str = core._get_header_dir_path()
    return folder

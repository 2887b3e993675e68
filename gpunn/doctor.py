"""Describe this machine for `gpunn doctor` and for the record of a run."""

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from typing import Any

import numpy as np

from gpunn.backends import Backend, choose_backend, get_backend
from gpunn.backends.cupy.diagnosis import PACKAGES as CUPY_PACKAGES
from gpunn.backends.selection import VARIABLE
from gpunn.backends.thread_count import usable_cores
from gpunn.errors import BackendUnavailableError, GpunnError
from gpunn.version import __version__

PACKAGES = ("numpy", "array-api-compat", "safetensors", "click", "tqdm")
OPTIONAL_PACKAGES = ("numba", *CUPY_PACKAGES, "scikit-learn", "threadpoolctl")
THREAD_VARIABLES = (
    "GPUNN_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
)


def environment(backend: Backend) -> dict[str, Any]:
    return {"backend": backend.describe(), **machine()}


def machine() -> dict[str, Any]:
    return {
        "gpunn": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": usable_cores(),
        "packages": versions(),
        "blas": blas(),
        "thread_variables": {
            name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ
        },
    }


def versions() -> dict[str, str | None]:
    listed = {package: version(package) for package in (*PACKAGES, *OPTIONAL_PACKAGES)}
    return {name: number for name, number in listed.items() if number or name in PACKAGES}


@functools.cache  # reading a version takes a millisecond
def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = (line.partition(":")[2].strip() for line in file if "model name" in line)
            return next(names, platform.machine())
    except OSError:
        return platform.processor() or platform.machine()


def blas() -> dict[str, Any]:
    built: Any = np.show_config(mode="dicts")
    library = built["Build Dependencies"]["blas"]
    described = {
        "name": library.get("name", "unknown"),
        "version": library.get("version", "unknown"),
        "configuration": library.get("openblas configuration", ""),
    }
    if importlib.util.find_spec("threadpoolctl") is None:
        return described
    from gpunn.backends.numpy.blas import controller

    pools = controller().info()
    return {
        **described,
        "pools": [
            {
                "library": pool["internal_api"],
                "version": pool["version"],
                "threads": pool["num_threads"],
                "kernels": pool.get("architecture", "unknown"),
            }
            for pool in pools
        ],
    }


def cpu_engine() -> dict[str, Any]:
    from gpunn.backends.numpy.compiled import CompiledBackend
    from gpunn.backends.numpy.compiled.library import find_library

    described: dict[str, Any] = {"threads": None, "problem": "", "kernels": kernels()}
    try:
        find_library()  # raises an error for a wrong name in GPUNN_KERNELS
        described["threads"] = CompiledBackend().threads
    except GpunnError as error:
        described["problem"] = str(error)
    return described


def kernels() -> dict[str, Any]:
    from gpunn.backends.numpy.compiled.library import find_library, remedy

    described: dict[str, Any] = {"target": None, "file": None, "problem": "", "fix": ""}
    try:
        search = find_library()
    except GpunnError as error:
        return {**described, "problem": str(error)}
    if search.library is None:
        fix = remedy(search) or ("Run: python -m gpunn.build" if search.target else "")
        return {**described, "problem": search.problem, "fix": fix}
    target, path = search.library.target, search.library.path
    return {**described, "target": target.name, "file": str(path)}


def automatic_backend() -> dict[str, str]:
    try:
        chosen = get_backend("cupy")
    except BackendUnavailableError as error:
        return {"backend": "numpy", "reason": str(error)}
    return {"backend": chosen.name, "reason": "a CUDA device is usable"}


def requested_backend() -> dict[str, str]:
    name = choose_backend()
    described = {"variable": os.environ.get(VARIABLE, ""), "backend": name, "problem": ""}
    if name != "auto":
        try:
            get_backend()  # errors name the variable
        except GpunnError as error:
            described["problem"] = str(error)
    return described


def verdict(cpu: dict[str, Any], auto: dict[str, str], requested: dict[str, str]) -> dict[str, Any]:
    from gpunn.backends.numpy.compiled.library import ONE_THREAD, SLOWER

    chosen = auto["backend"] if requested["backend"] == "auto" else requested["backend"]
    problem = requested["problem"] or (cpu["problem"] if chosen == "numpy" else "")
    if problem:
        return {"fast": False, "text": f"Training is impossible: {problem}", "advice": []}
    if chosen != "numpy":
        text = f"Training on the CUDA device of backend {chosen!r}: fast"
        return {"fast": True, "text": text, "advice": []}
    kernels = cpu["kernels"]
    if not kernels["problem"]:
        threads = f"{cpu['threads']} thread{'s' if cpu['threads'] != 1 else ''}"
        text = f"Training on this CPU: fast: compiled kernels for {kernels['target']}, {threads}"
        return {"fast": True, "text": text, "advice": []}
    text = f"Training on this CPU: slow: no compiled kernels ({kernels['problem']}). {SLOWER}"
    return {"fast": False, "text": text, "advice": [*filter(None, [kernels["fix"]]), ONE_THREAD]}


def diagnose() -> dict[str, Any]:
    from gpunn.backends.cupy.diagnosis import findings

    cpu, auto, requested = cpu_engine(), automatic_backend(), requested_backend()
    return {
        "verdict": verdict(cpu, auto, requested),
        **machine(),
        "executable": sys.executable,
        "cpu": cpu,
        "cuda": [
            {part: getattr(finding, part) for part in ("name", "value", "problem", "fix")}
            for finding in findings()
        ],
        "auto": auto,
        "requested": requested,
    }

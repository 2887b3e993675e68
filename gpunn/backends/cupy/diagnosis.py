"""Check the requirements of the CUDA backend, and explain how to fix missing ones.

This module imports CuPy only during a check, so it also works on a machine without CuPy.
"""

import functools
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gpunn.errors import BackendUnavailableError
from gpunn.forks import IMPORTING
from gpunn.optional import install_command

PACKAGES = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x")

LIBRARIES = {"NVRTC": "nvrtc", "cuBLAS": "cublas"}

INSUFFICIENT_DRIVER, NO_DEVICE, NOT_READY = 35, 100, 802
"""The codes of cudaErrorInsufficientDriver, cudaErrorNoDevice and cudaErrorSystemNotReady. CUDA
reports the first error even if there is no driver, and the last error if the fabric manager of the
GPUs' NVSwitch does not run."""

EXTRAS = (12, 13)

OUT_OF_MEMORY, UNAVAILABLE = 2, 46
"""The codes of cudaErrorMemoryAllocation and cudaErrorDevicesUnavailable. CUDA reports the latter
if another process uses a GPU in exclusive mode."""

INSTALL = (
    f"{install_command('cuda13', 'cuda12')}, depending on the CUDA version of the driver; "
    "'.[cuda13-toolkit]' and '.[cuda12-toolkit]' also install NVIDIA's CUDA libraries"
)

TOOLKIT = (
    f"{install_command('cuda13-toolkit', 'cuda12-toolkit')} "
    "(the extra that matches the CuPy package)"
)


@dataclass(frozen=True)
class Finding:
    """The result of one check. A `blocking` problem makes the CUDA backend unusable."""

    name: str
    value: str
    problem: str = ""
    fix: str = ""
    blocking: bool = True
    absent: bool = False

    @property
    def ok(self) -> bool:
        return not self.problem

    @property
    def blocks(self) -> bool:
        return self.blocking and not self.ok


def findings() -> list[Finding]:
    # A failed check also ends the checks that depend on it.
    checked = list(_environment())
    if any(finding.blocks for finding in checked):
        return checked
    devices = _devices()
    checked += devices.values()
    if any(finding.ok for finding in devices.values()):
        checked.append(_first_kernel())
    return checked


def usable_devices() -> list[int]:
    if any(finding.blocks for finding in _environment()):
        return []
    return [index for index, finding in _devices().items() if finding.ok]


def require_device(index: int | None) -> None:
    # None means the current device.
    name = "cupy" if index is None else f"cupy:{index}"
    checked = []
    for finding in _environment():
        checked.append(finding)
        if finding.blocks:
            raise _unavailable(name, checked)
    devices = _devices()
    if index is None:
        index = int(_cupy().cuda.runtime.getDevice())
    if index not in devices:
        listed = ", ".join(f"'cupy:{number}'" for number in devices)
        raise BackendUnavailableError(
            f"backend '{name}': there is no CUDA device number {index}. To fix it: use one of "
            f"{listed}{_visible_devices()}"
        )
    if devices[index].blocks:
        raise _unavailable(name, [*checked, devices[index]])


def _unavailable(name: str, checked: list[Finding]) -> BackendUnavailableError:
    last = checked[-1]
    suspects = "".join(f" ({finding.problem})" for finding in checked[:-1] if not finding.ok)
    problem = f"{last.problem}{suspects}"
    return BackendUnavailableError(f"backend '{name}': {problem}. To fix it: {last.fix}", problem)


def _cupy() -> Any:
    with IMPORTING:
        return importlib.import_module("cupy")


def cuda_version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _environment() -> Iterator[Finding]:
    packages = _packages()
    yield packages
    imported = _import(packages)
    yield imported
    if not imported.ok:
        return
    driver = _driver()
    yield driver
    if driver.ok:
        runtime = _cupy().cuda.runtime.runtimeGetVersion()
        yield Finding("CUDA runtime", f"CUDA {cuda_version(runtime)}")
        yield from (_library(name, module) for name, module in LIBRARIES.items())


@functools.cache  # since reading a package's files takes longer than making a small network
def installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _packages() -> Finding:
    installed = {name: number for name in PACKAGES if (number := installed_version(name))}
    value = ", ".join(f"{name} {number}" for name, number in installed.items()) or "none"
    if len(installed) < 2:
        return Finding("CuPy package", value)
    return Finding(
        "CuPy package",
        value,
        f"several packages overwrite each other's files: {value}",
        f"pip uninstall {' '.join(installed)}; then {INSTALL}",
        blocking=False,
    )


def _import(packages: Finding) -> Finding:
    try:
        cupy = _cupy()
    except ModuleNotFoundError as error:
        if error.name == "cupy":
            return Finding(
                "import cupy", "not found", "CuPy is not installed", INSTALL, absent=True
            )
        return _broken(error, packages)
    except Exception as error:  # a damaged installation may raise anything
        return _broken(error, packages)
    return Finding("import cupy", str(cupy.__version__))


def _broken(error: Exception, packages: Finding) -> Finding:
    reason = _first_line(error.__cause__ or error)
    fix = packages.fix or (
        f"if a CUDA library (lib....so) is missing, {TOOLKIT}; otherwise uninstall CuPy, then "
        f"{INSTALL}"
    )
    return Finding(
        "import cupy", "fails", f"CuPy is installed but can't be imported: {reason}", fix
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _driver() -> Finding:
    cuda = _cupy().cuda
    try:
        number = int(cuda.runtime.driverGetVersion())
    except Exception:  # CuPy raises its own error class, which differs between releases
        number = 0
    value = f"CUDA {cuda_version(number)}" if number else "none"
    if _is_available(cuda):
        return Finding("NVIDIA driver", value)
    problem, fix, absent = _why_unavailable(cuda, number)
    return Finding("NVIDIA driver", value, problem, fix, absent=absent)


def _is_available(cuda: Any) -> bool:
    try:
        return bool(cuda.is_available())
    except Exception:  # CuPy 13 raises where CuPy 14 returns False
        return False


def _why_unavailable(cuda: Any, driver: int) -> tuple[str, str, bool]:
    try:
        status, reason = (None if cuda.runtime.getDeviceCount() else NO_DEVICE), "unknown"
    except Exception as error:  # as above
        status, reason = getattr(error, "status", None), _first_line(error)
    if not driver:
        return (
            "there is no NVIDIA driver here",
            "install the driver of your GPU; in a container, give access to the host's driver, "
            "for example with docker run --gpus all",
            True,
        )
    if status == INSUFFICIENT_DRIVER:
        runtime = cuda_version(cuda.runtime.runtimeGetVersion())
        major = driver // 1000
        other = (
            f", or uninstall CuPy and then {install_command(f'cuda{major}')}"
            if major in EXTRAS
            else f"; gpunn needs CUDA {EXTRAS[0]} or newer"
        )
        return (
            f"the NVIDIA driver is too old: it supports CUDA up to {cuda_version(driver)}, but "
            f"this CuPy needs CUDA {runtime}",
            f"update the driver{other}",
            False,
        )
    if status == NO_DEVICE:
        return (
            "the NVIDIA driver finds no CUDA device",
            f"check that nvidia-smi lists a GPU{_visible_devices()}",
            True,
        )
    if status == NOT_READY:
        return (
            f"CUDA does not start: {reason}",
            "GPUs with NVSwitch need NVIDIA's fabric manager; its version must match the driver. "
            "Start it with: systemctl start nvidia-fabricmanager",
            False,
        )
    return (
        f"CUDA does not start: {reason}",
        "check that nvidia-smi works; if the driver was updated, restart the machine",
        False,
    )


def _visible_devices() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"


def _library(name: str, module: str) -> Finding:
    try:
        library = getattr(_cupy().cuda, module)
        number = library.getVersion() if module == "nvrtc" else None
    except Exception as error:  # as above
        major = int(_cupy().cuda.runtime.runtimeGetVersion()) // 1000
        return Finding(
            name,
            "missing",
            f"the CUDA library {name} can't be loaded: {_first_line(error)}",
            f"{install_command(f'cuda{major}-toolkit')}, or install the CUDA toolkit {major} from "
            "NVIDIA",
        )
    return Finding(name, "found" if number is None else ".".join(map(str, number)))


def _devices() -> dict[int, Finding]:
    cupy = _cupy()
    oldest = min(cupy.cuda.nvrtc.getSupportedArchs())
    return {
        index: _device(cupy.cuda.runtime.getDeviceProperties(index), index, oldest)
        for index in range(cupy.cuda.runtime.getDeviceCount())
    }


def _device(properties: dict[str, Any], index: int, oldest: int) -> Finding:
    major, minor = properties["major"], properties["minor"]
    memory = properties["totalGlobalMem"] / 2**30
    name = properties["name"].decode()
    value = f"{name}, compute capability {major}.{minor}, {memory:.0f} GiB"
    if 10 * major + minor >= oldest:
        return Finding(f"device {index}", value)
    minimum = f"{oldest // 10}.{oldest % 10}"
    return Finding(
        f"device {index}",
        value,
        f"CUDA device {index}, {name}, has compute capability {major}.{minor}, but this CUDA "
        f"version supports only {minimum} and newer",
        f"use a newer device, or uninstall CuPy and {install_command('cuda12')}; CUDA 12 "
        "supports older devices",
    )


def _first_kernel() -> Finding:
    # Compiling also requires CUDA's header files.
    cupy = _cupy()
    try:
        kernel = cupy.ElementwiseKernel("float32 x", "float32 y", "y = x + 1", "gpunn_first_kernel")
        result = float(kernel(cupy.ones(1, "float32"))[0])
    except Exception as error:  # as above; compilers have separate error classes
        problem = f"a kernel can't be compiled and run: {_first_line(error)}"
        return Finding("first kernel", "fails", problem, _fix_of_kernel(error))
    if result != 2:
        problem = f"a kernel that adds 1 to 1 returned {result}"
        fix = "reinstall the NVIDIA driver; if the result stays wrong, use another device"
        return Finding("first kernel", "wrong", problem, fix)
    return Finding("first kernel", "compiled and run")


def _fix_of_kernel(error: Exception) -> str:
    status = getattr(error, "status", None)
    if status == OUT_OF_MEMORY or type(error).__name__ == "OutOfMemoryError":
        return "the device's memory is full; end one of the processes that nvidia-smi lists"
    if status == UNAVAILABLE:
        return (
            "another process uses the device exclusively: end the process that nvidia-smi lists, "
            "or allow several processes with nvidia-smi --compute-mode=DEFAULT"
        )
    return f"if a header file is missing, {TOOLKIT}"

"""Compile the CPU kernels before hatchling builds a wheel.

A wheel gets the kernels of all processors of this architecture, an editable install those of this
processor. The build's temporary environment has numba, so the user needs neither numba nor LLVM. If
numba has no wheels, or no C compiler can link, the wheel is pure Python. The environment variable
`GPUNN_KERNELS=off` requests such a wheel.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = "gpunn/backends/numpy/compiled/built"

NEWEST_C_LIBRARY = (2, 17)
"""The glibc version that a Linux system needs for such wheels."""

NUMBA_WHEELS = {
    "python": ((3, 11), (3, 14)),
    "glibc": (2, 27),
    "machines": {"linux": ("x86_64", "aarch64"), "darwin": ("arm64",)},
}
"""Systems for which numba and llvmlite have wheels. Elsewhere pip would build LLVM, which fails."""


class System(NamedTuple):
    """An interpreter and its machine, which decide whether kernels can be compiled."""

    implementation: str
    python: tuple[int, int]
    free_threaded: bool
    platform: str
    machine: str
    glibc: tuple[int, ...]  # empty for another C library
    compiler: bool

    @classmethod
    def here(cls) -> System:
        library, release = platform.libc_ver()
        return cls(
            sys.implementation.name,
            sys.version_info[:2],
            bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
            sys.platform,
            platform.machine(),
            tuple(map(int, release.split("."))) if library == "glibc" else (),
            any(map(shutil.which, (os.environ.get("CC", ""), "cc", "gcc", "clang"))),
        )

    def can_compile(self) -> bool:
        """Return whether pip finds wheels of numba, and a C compiler can link."""
        first, last = NUMBA_WHEELS["python"]
        return (
            self.implementation == "cpython"
            and not self.free_threaded
            and first <= self.python <= last
            and self.machine in NUMBA_WHEELS["machines"].get(self.platform, ())
            and (self.platform != "linux" or self.glibc >= NUMBA_WHEELS["glibc"])
            and self.compiler
        )


class KernelsHook(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return the requirements for compiling: numba, and the packages that gpunn imports."""
        if unwanted() or not System.here().can_compile():
            return []
        project = self.metadata.core
        return [*project.dependencies, *project.optional_dependencies["fast"]]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the kernels, unless they exist already."""
        if unwanted() or importlib.util.find_spec("numba") is None:
            self.app.display_warning("no compiled kernels: this build has no numba")
            return
        sys.path.insert(0, self.root)
        from gpunn.backends.numpy.compiled.building import build
        from gpunn.backends.numpy.compiled.targets import runnable_targets, this_machines_targets

        folder = Path(self.root, BUILT)
        folder.mkdir(exist_ok=True)
        if version == "editable":
            for target in runnable_targets()[:1]:
                build(target, folder)
            return
        libraries = [build(target, folder) for target in this_machines_targets()]
        if not libraries or any(path.suffix == ".zip" for path in libraries):
            self.app.display_warning("no compiled kernels: no C compiler links them")
            return
        manifests = [folder / f"{target.name}.json" for target in this_machines_targets()]
        build_data["force_include"].update(
            {str(path): f"{BUILT}/{path.name}" for path in (*libraries, *manifests)}
        )
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(libraries)}"


def unwanted() -> bool:
    """Return whether the environment asks for a wheel without kernels."""
    return os.environ.get("GPUNN_KERNELS") == "off"


def platform_tag(libraries: list[Path]) -> str:
    """Return pip's tag of the systems that can load the libraries."""
    if sys.platform == "darwin":
        # The linker's target; Python's own tag may have two architectures.
        release = os.environ.get("MACOSX_DEPLOYMENT_TARGET") or platform.mac_ver()[0]
        return f"macosx_{release.split('.')[0]}_0_{platform.machine()}"
    if platform.libc_ver()[0] == "glibc":
        needed = {
            tuple(map(int, number.split(b".")))
            for path in libraries
            for number in re.findall(rb"GLIBC_([0-9.]+)", path.read_bytes())
        }
        if all(version[:2] <= NEWEST_C_LIBRARY for version in needed):
            return f"manylinux_2_17_{platform.machine()}"
    return re.sub("[-.]", "_", sysconfig.get_platform())

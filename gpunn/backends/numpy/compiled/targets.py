"""The kinds of processors that kernels are built for, and the selection for this machine."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from typing import Any, NamedTuple

from gpunn.backends.numpy.compiled.interface import Vectors
from gpunn.errors import ArgumentError, suggest

VARIABLE = "GPUNN_KERNELS"
"""The environment variable that names the kernels' target, or disables kernels ("off")."""

OFF = "off"

X86_64 = ("x86_64", "amd64")


class Target(NamedTuple):
    name: str
    machines: tuple[str, ...]
    """The architecture's names, as `platform.machine` returns them, in lower case."""
    cpu: str
    features: str
    """Changes of the features that `cpu` implies for LLVM."""
    vectors: Vectors
    required: tuple[str, ...]
    """NumPy's names of the features that a processor needs to run the code."""


V3 = ("AVX2", "FMA3", "F16C", "BMI", "BMI2", "LZCNT", "MOVBE")
V4 = (*V3, "AVX512F", "AVX512CD", "AVX512BW", "AVX512DQ", "AVX512VL", "AVX512_SKX")

TARGETS = {
    target.name: target
    for target in (
        # By default, LLVM uses vectors of 256 bits, and these loops take a third longer.
        Target("x86-64-v4", X86_64, "x86-64-v4", "-prefer-256-bit", Vectors(64, 32), V4),
        Target("x86-64-v3", X86_64, "x86-64-v3", "", Vectors(32, 16), V3),
        Target("aarch64", ("aarch64", "arm64"), "generic", "+neon", Vectors(16, 32), ("ASIMD",)),
    )
}
"""All targets by name, the best of each architecture first. Processors without fused multiply-add
have no target, because NumPy's BLAS is faster on them than gpunn's kernels."""


def this_machines_targets() -> list[Target]:
    if sys.platform == "win32":  # kernels are untested on Windows
        return []
    machine = platform.machine().lower()
    return [target for target in TARGETS.values() if machine in target.machines]


def runnable_targets() -> list[Target]:
    try:
        module: Any = importlib.import_module("numpy._core._multiarray_umath")
        supported = module.__cpu_features__
    except (ImportError, AttributeError):  # NumPy may remove this private name
        return []
    # The features in NumPy's list imply all other required features.
    return [
        target
        for target in this_machines_targets()
        if all(supported.get(feature, True) for feature in target.required)
    ]


def requested_target() -> Target | None:
    name = os.environ.get(VARIABLE, "")
    if name == OFF:
        return None
    if not name:
        return next(iter(runnable_targets()), None)
    valid = {target.name: target for target in this_machines_targets()}
    if name not in valid:
        hint = suggest(name, [*valid, OFF])
        raise ArgumentError(f"{VARIABLE}: there is no target {name!r}; {hint}")
    return valid[name]

"""The processors that kernels are built for, and which of them this one is."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from typing import Any, NamedTuple

from gpunn.backends.numpy.compiled.interface import Vectors
from gpunn.errors import ArgumentError, suggest

__all__ = ["OFF", "TARGETS", "VARIABLE", "Target", "requested_target", "runnable_targets"]

VARIABLE = "GPUNN_KERNELS"
"""Names the target whose kernels are used, or is "off": then NumPy computes alone."""

OFF = "off"

X86_64 = ("x86_64", "amd64")


class Target(NamedTuple):
    """A kind of processor, named after the level of its architecture."""

    name: str
    machines: tuple[str, ...]
    """What `platform.machine` calls the architecture, in lower case."""
    cpu: str
    features: str
    """What LLVM calls the processor, and how code for it differs from LLVM's choice."""
    vectors: Vectors
    required: tuple[str, ...]
    """What a processor needs that is to run the code, as NumPy calls it."""


V3 = ("AVX2", "FMA3", "F16C", "BMI", "BMI2", "LZCNT", "MOVBE")
V4 = (*V3, "AVX512F", "AVX512CD", "AVX512BW", "AVX512DQ", "AVX512VL", "AVX512_SKX")

TARGETS = {
    target.name: target
    for target in (
        # LLVM prefers vectors of 256 bits there, with which these loops take a third longer.
        Target("x86-64-v4", X86_64, "x86-64-v4", "-prefer-256-bit", Vectors(64, 32), V4),
        Target("x86-64-v3", X86_64, "x86-64-v3", "", Vectors(32, 16), V3),
        Target("aarch64", ("aarch64", "arm64"), "generic", "+neon", Vectors(16, 32), ("ASIMD",)),
    )
}
"""All of them by name, the best of an architecture first. Older processors have no fused
multiply-add, without which NumPy's BLAS is faster than kernels."""


def this_machines_targets() -> list[Target]:
    """Return the targets of this machine's architecture, whether or not it can run them all.

    There are none on Windows, where nobody has tried them.
    """
    if sys.platform == "win32":
        return []
    machine = platform.machine().lower()
    return [target for target in TARGETS.values() if machine in target.machines]


def runnable_targets() -> list[Target]:
    """Return the targets whose code this machine can run, the best first."""
    try:
        module: Any = importlib.import_module("numpy._core._multiarray_umath")
        supported = module.__cpu_features__
    except (ImportError, AttributeError):  # it is private, and may go
        return []
    # What a release of NumPy doesn't ask the processor for comes with what it does ask for.
    return [
        target
        for target in this_machines_targets()
        if all(supported.get(feature, True) for feature in target.required)
    ]


def requested_target() -> Target | None:
    """Return the target that GPUNN_KERNELS names, else the best; None if it is off, or none fits.

    An ArgumentError if there is no such target, or it is one of another architecture.
    """
    name = os.environ.get(VARIABLE, "")
    if name == OFF:
        return None
    if not name:
        return next(iter(runnable_targets()), None)
    valid = {target.name: target for target in this_machines_targets()}
    if name not in valid:
        raise ArgumentError(f"{VARIABLE}: {name!r}: {suggest(name, [*valid, OFF])}")
    return valid[name]

"""Subnormal numbers as zero: many processors take a hundred times as long to compute with them.

Below 1.2e-38 in float32, and 2.2e-308 in float64, numbers lose digits one by one before they become
zero (IEEE 754). A processor's flags make it take them for zero ("denormals are zero") and give zero
for them ("flush to zero"). The flags belong to a thread. Here they are set through the C library,
which has them in what it calls the floating-point environment.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
import threading
from typing import Any, NamedTuple

import numpy as np

__all__ = ["FLUSHED", "FPCR_FLUSHING", "MXCSR_FLUSHING", "Flushed"]

WORDS = 32
"""Of 32 bits, in a floating-point environment, at most."""


class Environment(NamedTuple):
    """Where and what the flags are, and the functions that get and set the environment."""

    word: int
    flags: int
    get: Any
    set: Any


MXCSR_FLUSHING, FPCR_FLUSHING = 0x8040, 1 << 24
"""Flags of x86: flush to zero, denormals are zero. Flag of ARM: FZ, which is both."""

LAYOUTS = {"x86_64": (7, MXCSR_FLUSHING), "aarch64": (0, FPCR_FLUSHING)}
"""For each processor, which word of the environment the flags are in, and what they are."""


class State:
    """Of a thread: how many contexts it is in, its flags before them, memory for an environment."""

    __slots__ = ("before", "depth", "memory")

    def __init__(self) -> None:
        self.before = self.depth = 0
        self.memory = (ctypes.c_uint32 * WORDS)()


class ThreadState(threading.local):
    """The state of a thread: one object, since each look-up in a `local` takes time."""

    def __init__(self) -> None:
        self.state = State()


THREAD = ThreadState()


class Flushed:
    """A context in which subnormal numbers are zero, in this thread.

    Where the flags can't be set, it does nothing.
    """

    def __enter__(self) -> None:
        """Set the flags."""
        state = THREAD.state
        state.depth += 1
        if state.depth == 1 and (access := environment()) is not None:
            word, flags, get, put = access
            memory = state.memory
            get(memory)
            state.before = before = memory[word]
            memory[word] = before | flags
            put(memory)

    def __exit__(self, *_: object) -> None:
        """Set them as they were."""
        state = THREAD.state
        state.depth -= 1
        if state.depth == 0 and (access := environment()) is not None:
            word, _flags, _get, put = access
            memory = state.memory
            memory[word] = state.before
            put(memory)


FLUSHED = Flushed()
"""One for all threads: what it keeps is thread-local."""


@functools.cache
def environment() -> Environment | None:
    """Return how to set the flags; None where that isn't known to work."""
    layout = LAYOUTS.get(platform.machine())
    if layout is None or not sys.platform.startswith("linux"):
        return None
    for name in ("libm.so.6", None):
        try:
            library = ctypes.PyDLL(name)  # which keeps Python's lock: letting go of it takes longer
            access = Environment(*layout, library.fegetenv, library.fesetenv)
        except (OSError, AttributeError):
            continue
        return access if works(access) else None
    return None


def works(access: Environment) -> bool:
    """Return whether the flags do what they should, and can be taken back."""
    smallest, half = np.full(64, np.finfo(np.float32).smallest_normal), np.float32(0.5)
    before = (ctypes.c_uint32 * WORDS)()
    access.get(before)
    flushing = (ctypes.c_uint32 * WORDS).from_buffer_copy(before)
    flushing[access.word] |= access.flags
    access.set(flushing)
    try:
        flushes = not np.any(smallest * half)
    finally:
        access.set(before)
    return flushes and (bool(np.all(smallest * half)) or bool(before[access.word] & access.flags))

"""Treat subnormal numbers as zero, because many processors take a hundred times as long for them.

Processor flags replace subnormal operands ("denormals are zero") and subnormal results ("flush to
zero") by zero. Each thread has separate flags, which are part of C's floating-point environment.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
import threading
from typing import Any, NamedTuple

import numpy as np

WORDS = 32
"""Maximum number of 32-bit words in a floating-point environment."""


class Environment(NamedTuple):
    word: int
    flags: int
    get: Any
    set: Any


MXCSR_FLUSHING, FPCR_FLUSHING = 0x8040, 1 << 24
"""x86 has a flag for each effect. ARM's flag FZ has both effects."""

LAYOUTS = {"x86_64": (7, MXCSR_FLUSHING), "aarch64": (0, FPCR_FLUSHING)}
"""For each processor, the index of the environment's word with the flags, and the flags."""


class State:
    __slots__ = ("before", "depth", "memory")

    def __init__(self) -> None:
        self.before = self.depth = 0
        self.memory = (ctypes.c_uint32 * WORDS)()


class ThreadState(threading.local):
    def __init__(self) -> None:
        self.state = State()  # one attribute, since each access to a `local` takes time


THREAD = ThreadState()


class Flushed:
    def __enter__(self) -> None:
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
        state = THREAD.state
        state.depth -= 1
        if state.depth == 0 and (access := environment()) is not None:
            word, _flags, _get, put = access
            memory = state.memory
            memory[word] = state.before
            put(memory)


FLUSHED = Flushed()


@functools.cache
def environment() -> Environment | None:
    """Return the processor's flags for flushing, and the functions that get and set flags.

    The result is None if flags or functions are unavailable, or if a test of the flags fails.
    """
    layout = LAYOUTS.get(platform.machine())
    if layout is None or not sys.platform.startswith("linux"):
        return None
    for name in ("libm.so.6", None):
        try:
            library = ctypes.PyDLL(name)  # keeps Python's lock, since releasing it takes longer
            access = Environment(*layout, library.fegetenv, library.fesetenv)
        except (OSError, AttributeError):
            continue
        return access if works(access) else None
    return None


def works(access: Environment) -> bool:
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

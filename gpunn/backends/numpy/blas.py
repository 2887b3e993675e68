"""How many threads NumPy's BLAS may use."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

__all__ = ["limit_threads"]


@functools.cache
def controller() -> ThreadpoolController:
    """Return what finds the BLAS in use, which takes some milliseconds the first time."""
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Let products use at most so many threads."""
    larger = [
        (library, before)
        for library in controller().lib_controllers
        if (before := library.get_num_threads()) > threads
    ]
    try:
        for library, _ in larger:
            library.set_num_threads(threads)
        yield
    finally:
        for library, before in larger:
            library.set_num_threads(before)

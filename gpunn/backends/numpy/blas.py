"""Limit the number of threads of NumPy's BLAS."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController


@functools.cache
def controller() -> ThreadpoolController:
    # The first call takes some milliseconds.
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
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

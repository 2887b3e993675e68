"""Saying that kernels are built, which takes long and happens once."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gpunn.forks import IMPORTING
from gpunn.terminal import is_terminal

__all__ = ["LOGGER_NAME", "announced", "say"]

LOGGER_NAME = "gpunn.compilation"
"""Of its own, so that the command can show this without all other information."""

logger = logging.getLogger(LOGGER_NAME)


def stream() -> Any:
    """Return where somebody looks on: standard error if that is a terminal, a cell; else None."""
    if "ipykernel" in sys.modules:  # a notebook shows standard error as errors
        return sys.stdout
    return sys.stderr if is_terminal(sys.stderr) else None


def say(line: str) -> None:
    """Show a line to whoever looks on, above a progress bar if there is one.

    Without a terminal or a notebook it goes to the log "gpunn.compilation" as information, which
    the command `gpunn` writes to standard error.
    """
    if shown := stream():
        with IMPORTING:
            from tqdm import tqdm

        tqdm.write(line, file=shown)
    else:
        logger.info("gpunn: %s", line)


@contextmanager
def announced(what: str) -> Iterator[Callable[[int, int], None]]:
    """Say that something is built, and how long it took; yield a function that shows progress.

    That takes the number of parts that are done, and of all parts.
    """
    with IMPORTING:
        from tqdm import tqdm

    start = time.perf_counter()
    say(f"Building {what}, which is done once ...")
    with tqdm(
        desc="Building", unit="part", file=stream(), disable=not stream(), leave=False
    ) as bar:

        def show(done: int, parts: int) -> None:
            bar.total = parts
            bar.update(done - bar.n)

        yield show
    say(f"Built {what} in {time.perf_counter() - start:.1f} s")

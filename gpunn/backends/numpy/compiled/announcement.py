"""Saying that something is compiled, which takes long and happens once."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ANNOUNCEMENT", "LOGGER_NAME", "Announcement"]

LOGGER_NAME = "gpunn.compilation"
"""Of its own, so that the command can show this without all other information."""

logger = logging.getLogger(LOGGER_NAME)


class Announcement:
    """Tells when compilation begins, and how long it has taken.

    On standard error if that is a terminal, in the output of a notebook's cell, else to the log
    "gpunn.compilation" as information, which the command `gpunn` writes to standard error.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._began: float | None = None

    @contextmanager
    def around(self) -> Iterator[None]:
        """Take all that is compiled within this context as one."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth and self._began is not None:
                took, self._began = time.perf_counter() - self._began, None
                say(f"Compiled the CPU kernels in {took:.1f} s")

    def begin(self, *, kept: bool) -> None:
        """Note that something is compiled now, and whether it is kept for later processes."""
        if self._depth and self._began is None:
            self._began = time.perf_counter()
            often = "once on this machine" if kept else "as in each process"
            say(f"Compiling CPU kernels, {often} (some 20 seconds) ...")


def say(line: str) -> None:
    """Show a line to whoever looks on, above a progress bar if there is one."""
    notebook = "ipykernel" in sys.modules  # which shows standard error as errors
    if notebook or (sys.stderr is not None and sys.stderr.isatty()):
        from tqdm import tqdm

        tqdm.write(line, file=sys.stdout if notebook else sys.stderr)
    else:
        logger.info("gpunn: %s", line)


ANNOUNCEMENT = Announcement()
"""That of this process."""

"""Print or log that kernels are being built, with a progress bar."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gpunn.forks import IMPORTING
from gpunn.terminal import is_terminal

LOGGER_NAME = "gpunn.compilation"
"""The logger for builds, so that the command `gpunn` can show builds but no other INFO lines."""

logger = logging.getLogger(LOGGER_NAME)


def stream() -> Any:
    if "ipykernel" in sys.modules:  # a notebook shows standard error as errors
        return sys.stdout
    return sys.stderr if is_terminal(sys.stderr) else None


def say(line: str) -> None:
    if shown := stream():
        with IMPORTING:
            from tqdm import tqdm

        tqdm.write(line, file=shown)
    else:
        logger.info("gpunn: %s", line)


@contextmanager
def announced(what: str) -> Iterator[Callable[[int, int], None]]:
    with IMPORTING:
        from tqdm import tqdm

    start = time.perf_counter()
    say(f"Building {what} (only once) ...")
    with tqdm(
        desc="Building", unit="part", file=stream(), disable=not stream(), leave=False
    ) as bar:

        def show(done: int, parts: int) -> None:
            bar.total = parts
            bar.update(done - bar.n)

        yield show
    say(f"Built {what} in {time.perf_counter() - start:.1f} s")

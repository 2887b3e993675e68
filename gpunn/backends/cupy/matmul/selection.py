"""Which of cuBLASLt's algorithms does a product: the heuristic's first, or the fastest.

Algorithms add in different orders, and so round differently. What was measured is therefore part
of a training's state: it is stored in checkpoints and taken back from them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, TypeAlias

import cupy

from gpunn.backends.cupy.capture import captured
from gpunn.backends.cupy.matmul.cublas import CublasError
from gpunn.backends.cupy.matmul.cublaslt import Algorithm, Plan, RefusalError

__all__ = ["Heuristic", "Measured", "Selection"]

logger = logging.getLogger("gpunn")

CANDIDATES = 8
"""How many algorithms are compared."""

IN_A_ROW, LAUNCHES = 10, 5
"""Products in a graph, and launches of it that are timed."""

LONG = 0.5
"""In milliseconds: beside a product that takes longer, launching a graph of one is nothing."""

MADE_BY = "made_by"
"""Key, among what is stored, of the library and the device that algorithms belong to."""

DIFFERS = "so the run will not end with the numbers of an uninterrupted run"


class Heuristic:
    """Takes the one that cuBLASLt's heuristic expects to be the fastest."""

    reason = "algorithms of cuBLAS's heuristic"

    def choose(self, problem: str, plan: Plan, run: Callable[[Algorithm], None]) -> Algorithm:
        """Return the heuristic's first algorithm; see `Measured`."""
        return plan.candidates(1)[0]

    def stored(self) -> dict[str, str]:
        """Return nothing: the heuristic says the same each time."""
        return {}

    def restore(self, stored: Mapping[str, str]) -> None:
        """Do nothing."""


class Measured:
    """Takes the one that was the fastest of the heuristic's first few, on the very operands.

    Where the stream is recorded, nothing can be timed, and it is the heuristic's first.
    """

    def __init__(self, library: Any) -> None:
        device = cupy.cuda.runtime.getDevice()
        name = cupy.cuda.runtime.getDeviceProperties(device)["name"].decode()
        self._made_by = f"cuBLASLt {library.cublasLtGetVersion()} on {name}"
        self._chosen: dict[str, str] = {}

    @property
    def reason(self) -> str:
        """How many were chosen."""
        return f"measured algorithms: {len(self._chosen)}"

    def choose(self, problem: str, plan: Plan, run: Callable[[Algorithm], None]) -> Algorithm:
        """Return the algorithm that was chosen before for this kind of product, or the fastest.

        `run` does the product on the current stream with an algorithm. If there is none, a
        RefusalError is raised.
        """
        if problem in self._chosen:
            algorithm = decoded(self._chosen[problem])
            if algorithm is not None and plan.accepts(algorithm):
                return algorithm
            logger.warning(
                "gpunn: cuBLASLt can't do a product with the algorithm that was stored for it, and "
                "another one is chosen, %s: %s",
                DIFFERS,
                problem,
            )
            self._chosen.pop(problem, None)  # another thread may have been quicker
        candidates = plan.candidates(CANDIDATES)
        if cupy.cuda.get_current_stream().is_capturing():
            fastest = candidates[0]
        else:
            fastest = fastest_of(working(candidates, run), run)
        # Another thread may have been quicker; one algorithm is for all of them.
        return Algorithm.from_buffer_copy(
            bytes.fromhex(self._chosen.setdefault(problem, bytes(fastest).hex()))
        )

    def stored(self) -> dict[str, str]:
        """Return the algorithms, in hexadecimal digits, and what they belong to."""
        return {MADE_BY: self._made_by, **self._chosen} if self._chosen else {}

    def restore(self, stored: Mapping[str, str]) -> None:
        """Take algorithms back, which NVIDIA allows with the same version of the library."""
        if not stored:
            return
        algorithms = dict(stored)
        made_by = algorithms.pop(MADE_BY, None)
        if made_by == self._made_by:
            self._chosen |= algorithms
            return
        logger.warning(
            "gpunn: the algorithms of products were measured for %s; this is %s. They are measured "
            "anew, %s",
            made_by,
            self._made_by,
            DIFFERS,
        )


Selection: TypeAlias = Heuristic | Measured
"""Chooses among cuBLASLt's algorithms."""


def decoded(text: str) -> Algorithm | None:
    """Return an algorithm from hexadecimal digits, or None if they aren't those of one."""
    try:
        return Algorithm.from_buffer_copy(bytes.fromhex(text))
    except ValueError:
        return None


def working(candidates: Sequence[Algorithm], run: Callable[[Algorithm], None]) -> list[Algorithm]:
    """Return those that do the product, and have loaded their kernels by now.

    Raises
    ------
    RefusalError, CublasError
        If none does.
    """
    found, reason = [], None
    for candidate in candidates:
        try:
            run(candidate)
            found.append(candidate)
        # One that fails leaves the others; where the device has failed, they fail as well.
        except (RefusalError, CublasError) as error:
            reason = error
    if reason is not None and not found:
        raise reason
    return found


def fastest_of(candidates: Sequence[Algorithm], run: Callable[[Algorithm], None]) -> Algorithm:
    """Return the one with the least median time on the device.

    They are timed within graphs, as a training step runs them: launched one by one, a small product
    would take the host longer than the device.
    """
    if len(candidates) == 1:
        return candidates[0]
    runs = [partial(run, candidate) for candidate in candidates]
    repetitions = 1 if milliseconds(runs[0]) > LONG else IN_A_ROW
    graphs = [captured(each, repetitions) for each in runs]
    times: list[list[float]] = [[] for _ in graphs]
    for graph in graphs:
        graph.launch()  # the first launch also prepares the graph
    for _ in range(LAUNCHES):  # in turn, so that what slows the device down hits all of them
        for graph, own in zip(graphs, times, strict=True):
            own.append(milliseconds(graph.launch))
    medians = [median(own) for own in times]
    return candidates[medians.index(min(medians))]


def milliseconds(launch: Callable[[], None]) -> float:
    """Return how long the device takes for something, and wait for it."""
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    begin.record()
    launch()
    end.record()
    end.synchronize()
    return float(cupy.cuda.get_elapsed_time(begin, end))

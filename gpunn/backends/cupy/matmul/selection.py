"""Choose an algorithm of cuBLASLt for a product: the heuristic's choice, or the fastest one.

Algorithms sum in different orders, so they round differently. Measured choices are therefore part
of the training state, which checkpoints store and restore.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, TypeAlias

import cupy

from gpunn.backends.cupy.capture import captured
from gpunn.backends.cupy.matmul.cublas import CublasError
from gpunn.backends.cupy.matmul.cublaslt import Algorithm, Plan, RefusalError

logger = logging.getLogger("gpunn")

CANDIDATES = 8
"""Number of algorithms that are timed for each kind of product."""

IN_A_ROW, LAUNCHES = 10, 5
"""The number of products in a timed graph, and the number of timed launches of each graph."""

LONG = 0.5
"""Milliseconds of a product above which the time to launch a graph is negligible."""

# The key of the library's version and the device.
MADE_BY = "made_by"

DIFFERS = "so results may differ in rounding from an uninterrupted run"


class Heuristic:
    reason = "algorithms of cuBLAS's heuristic"

    def choose(self, problem: str, plan: Plan, run: Callable[[Algorithm], None]) -> Algorithm:
        return plan.candidates(1)[0]

    def stored(self) -> dict[str, str]:
        # The heuristic repeats its choices, so nothing is stored.
        return {}

    def restore(self, stored: Mapping[str, str]) -> None: ...


class Measured:
    """Chooses the fastest of several algorithms for each matrix product.

    If no algorithm has been chosen for a product before a graph is captured, the first candidate is
    chosen.
    """

    def __init__(self, library: Any) -> None:
        device = cupy.cuda.runtime.getDevice()
        name = cupy.cuda.runtime.getDeviceProperties(device)["name"].decode()
        self._made_by = f"cuBLASLt {library.cublasLtGetVersion()} on {name}"
        self._chosen: dict[str, str] = {}

    @property
    def reason(self) -> str:
        return f"measured algorithms: {len(self._chosen)}"

    def choose(self, problem: str, plan: Plan, run: Callable[[Algorithm], None]) -> Algorithm:
        # `run` computes the product with a given algorithm on the current stream.
        if problem in self._chosen:
            algorithm = decoded(self._chosen[problem])
            if algorithm is not None and plan.accepts(algorithm):
                return algorithm
            logger.warning(
                "gpunn: cuBLASLt can't use the stored algorithm for a matrix product. gpunn "
                "chooses another algorithm, %s. Product: %s",
                DIFFERS,
                problem,
            )
            self._chosen.pop(problem, None)  # another thread may have been quicker
        candidates = plan.candidates(CANDIDATES)
        if cupy.cuda.get_current_stream().is_capturing():
            fastest = candidates[0]
        else:
            fastest = fastest_of(usable(candidates, run), run)
        # Another thread may have been quicker. All threads must use the same algorithm.
        return Algorithm.from_buffer_copy(
            bytes.fromhex(self._chosen.setdefault(problem, bytes(fastest).hex()))
        )

    def stored(self) -> dict[str, str]:
        return {MADE_BY: self._made_by, **self._chosen} if self._chosen else {}

    def restore(self, stored: Mapping[str, str]) -> None:
        # NVIDIA allows stored algorithms only with an equal version of cuBLASLt.
        if not stored:
            return
        algorithms = dict(stored)
        made_by = algorithms.pop(MADE_BY, None)
        if made_by == self._made_by:
            self._chosen |= algorithms
            return
        logger.warning(
            "gpunn: the stored algorithms for matrix products were measured with %s, but this "
            "process uses %s. gpunn measures the algorithms again, %s",
            made_by,
            self._made_by,
            DIFFERS,
        )


Selection: TypeAlias = Heuristic | Measured


def decoded(text: str) -> Algorithm | None:
    try:
        return Algorithm.from_buffer_copy(bytes.fromhex(text))
    except ValueError:
        return None


def usable(candidates: Sequence[Algorithm], run: Callable[[Algorithm], None]) -> list[Algorithm]:
    working, reason = [], None
    for candidate in candidates:
        try:
            run(candidate)
            working.append(candidate)
        # If one algorithm fails, others may work. If the device has failed, all fail.
        except (RefusalError, CublasError) as error:
            reason = error
    if reason is not None and not working:
        raise reason
    return working


def fastest_of(candidates: Sequence[Algorithm], run: Callable[[Algorithm], None]) -> Algorithm:
    # Candidates are timed within CUDA graphs, like training steps. Launched one by one, small
    # products would take the host more time than the device.
    if len(candidates) == 1:
        return candidates[0]
    runs = [partial(run, candidate) for candidate in candidates]
    repetitions = 1 if milliseconds(runs[0]) > LONG else IN_A_ROW
    graphs = [captured(each, repetitions) for each in runs]
    times: list[list[float]] = [[] for _ in graphs]
    for graph in graphs:
        graph.launch()  # the first launch also prepares the graph
    for _ in range(LAUNCHES):  # in turn, so that a slow phase of the device affects all candidates
        for graph, taken in zip(graphs, times, strict=True):
            taken.append(milliseconds(graph.launch))
    medians = [median(taken) for taken in times]
    return candidates[medians.index(min(medians))]


def milliseconds(launch: Callable[[], None]) -> float:
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    begin.record()
    launch()
    end.record()
    end.synchronize()
    return float(cupy.cuda.get_elapsed_time(begin, end))

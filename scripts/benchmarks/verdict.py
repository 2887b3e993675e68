"""Who is faster: ratios to the fastest peer, and geometric means."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.catalogue import COMPETITORS, FLOOR, peers


@dataclass(frozen=True)
class Mean:
    """Ratios of a peer's times to the subject's, above 1 where the subject is faster.

    Attributes
    ----------
    mean : float
        Their geometric mean.
    least : float
        The worst of them for the subject.
    where : str
        The cell of that.
    cells : int
        How many cells there are.
    """

    mean: float
    least: float
    where: str
    cells: int


def best_peer(times: Mapping[str, float]) -> str | None:
    """Return the fastest that is neither gpunn nor a floor; None if there is none."""
    return min(peers(list(times)), key=lambda name: times[name], default=None)


def rivals(times: Mapping[str, float]) -> dict[str, float]:
    """Return the times that the subject is held against, by name.

    These are the best peer's, each peer library's fastest form's, and the floor's.
    """
    found: dict[str, float] = {}
    for name in peers(list(times)):
        for rival in ("best peer", COMPETITORS[name].library):
            found[rival] = min(found.get(rival, math.inf), times[name])
    if FLOOR in times:
        found["GEMM floor"] = times[FLOOR]
    return found


def ratio(other: float | None, subject: float | None) -> float | None:
    """Return how many times longer the other takes; None if one of them is not known."""
    return None if other is None or subject is None else other / subject


def means(
    cells: Mapping[str, Mapping[str, float]], subject: str, chosen: Sequence[str]
) -> dict[str, Mean]:
    """Return the geometric mean of the ratios to each rival.

    Parameters
    ----------
    cells : mapping
        From a cell's name to the competitors' times.
    chosen : sequence of str
        The cells that count; those in which a time is missing do not.
    """
    ratios: dict[str, list[tuple[float, str]]] = {}
    for cell in chosen:
        times = cells[cell]
        if subject in times:
            for rival, seconds in rivals(times).items():
                ratios.setdefault(rival, []).append((seconds / times[subject], cell))
    return {
        rival: Mean(statistics.geometric_mean(r for r, _ in found), *min(found), len(found))
        for rival, found in ratios.items()
    }

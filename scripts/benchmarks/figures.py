"""From turns to figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.quietness import Turn

Samples = Callable[[dict], Sequence[float]]


@dataclass(frozen=True)
class Figure:
    """What a competitor's turns in a cell amount to.

    Attributes
    ----------
    median : float
        Of the quiet turns' medians.
    minimum : float
        The least sample of the quiet turns.
    spread : float
        How much the slowest quiet turn's median is above the fastest one's, as a fraction.
    turns, quiet : int
        How many there were, and how many of them quiet. If none was, all count.
    """

    median: float
    minimum: float
    spread: float
    turns: int
    quiet: int

    @property
    def mark(self) -> str:
        """ "~" if no turn was quiet."""
        return "" if self.quiet else "~"


def figure(turns: Sequence[Turn], quiet: Callable[[Turn], bool], samples: Samples) -> Figure | None:
    """Return the figure of the turns; None if there are none.

    Parameters
    ----------
    quiet : callable
        Judges a turn.
    samples : callable
        From an answer to what was measured in it, such as each epoch's seconds.
    """
    chosen = [turn for turn in turns if quiet(turn)]
    taken = [list(samples(turn.answer)) for turn in chosen or turns]
    if not taken:
        return None
    medians = [statistics.median(each) for each in taken]
    return Figure(
        median=statistics.median(medians),
        minimum=min(map(min, taken)),
        spread=max(medians) / min(medians) - 1,
        turns=len(turns),
        quiet=len(chosen),
    )

"""The watch over the machine: which turns were quiet.

Shared machines change their speed for seconds to minutes, and other processes want their share. So
a reference product is timed before and after every turn, and a turn counts only if both were
nearly as fast as the fastest of the run, and nothing else kept the cores busy meanwhile.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SLOWER = 0.9
"""Of the best reference product's speed: below that, a turn is not quiet."""

OTHERS = 0.15
"""Cores' worth of other processes, above which a turn is not quiet."""

UNCERTAIN = 0.03
"""Processor seconds by which the system's counts, in hundredths of a second, may be off."""

SETTLING = 0.06
"""Seconds until a library's threads, which wait for more work by spinning, have gone to sleep."""


@dataclass(frozen=True)
class Turn:
    """What one competitor answered, and how the machine was meanwhile.

    Attributes
    ----------
    reference : float
        GFLOP/s of the reference product, the slower of before and after.
    others : float
        Processor seconds of other processes in a second, as far as the system's counts can tell.
    """

    answer: dict[str, Any]
    reference: float
    others: float


class Watch:
    """Knows the best speed of the machine, and judges turns by it.

    Parameters
    ----------
    reference : callable
        Times the reference product, in GFLOP/s.
    busy_seconds : callable
        Processor seconds that the machine has spent.
    """

    def __init__(
        self, reference: Callable[[], float], busy_seconds: Callable[[], float], looks: int = 20
    ) -> None:
        self._reference = reference
        self._busy_seconds = busy_seconds
        self.references: list[float] = []
        self.turns: list[Turn] = []
        for _ in range(looks):
            self._look()

    @property
    def best(self) -> float:
        """The fastest reference product so far, in GFLOP/s."""
        return max(self.references)

    def turn(self, work: Callable[[], dict[str, Any]], own_seconds: Callable[[], float]) -> Turn:
        """Do the work and look at the machine afterwards.

        Parameters
        ----------
        own_seconds : callable
            Processor seconds that the competitor has spent.
        """
        before = self.references[-1]
        busy, own, began = self._busy_seconds(), own_seconds(), time.perf_counter()
        answer = work()
        seconds = time.perf_counter() - began
        others = self._busy_seconds() - busy - (own_seconds() - own)
        share = max(0.0, others - UNCERTAIN) / seconds
        turn = Turn(answer, min(before, self._look()), share)
        self.turns.append(turn)
        return turn

    def quiet(self, turn: Turn) -> bool:
        """Whether a turn counts, by what is known so far."""
        return turn.reference >= SLOWER * self.best and turn.others <= OTHERS

    def summary(self) -> dict[str, Any]:
        """Return how quiet the machine was."""
        return {
            "turns": len(self.turns),
            "quiet_turns": sum(map(self.quiet, self.turns)),
            "reference_gflops": {
                "least": min(self.references),
                "median": statistics.median(self.references),
                "best": self.best,
            },
            "others_most": max((turn.others for turn in self.turns), default=0.0),
        }

    def _look(self) -> float:
        time.sleep(SETTLING)
        self.references.append(self._reference())
        time.sleep(SETTLING)
        return self.references[-1]

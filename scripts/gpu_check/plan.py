"""The steps, in their order, and what each may take.

The most valuable come first, so that a check that is cut off has them: whether it trains, how fast,
and where the time goes; then what finds the errors that those have not. The first ones' limits are
generous, for a machine that is slow to begin: what they leave over is not lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One row of the table.

    Parameters
    ----------
    name : str
    call : str
        Module of `steps` and function in it, with arguments after a colon: "speed.run:quick".
    limit : float
        Seconds after which it is stopped; more if earlier steps have left some over.
    """

    name: str
    call: str
    limit: float


WHOLE = (
    Step("doctor", "doctor.run", 40),
    Step("warm-up", "warm_up.run", 90),
    Step("training on both backends", "curves.run", 60),
    Step("speed", "speed.run:whole", 255),
    Step("kernels of a step", "kernels.run", 35),
    Step("tests on this device", "tests.run", 215),
    Step("kernel sources", "sources.run", 45),
    Step("compute-sanitizer memcheck", "sanitizer.run:memcheck", 90),
    Step("compute-sanitizer racecheck", "sanitizer.run:racecheck", 70),
)
"""15 minutes."""

QUICK = (
    Step("doctor", "doctor.run", 40),
    Step("warm-up", "warm_up.run", 35),
    Step("training on both backends", "curves.run:digits", 15),
    Step("speed", "speed.run:quick", 50),
    Step("tests on this device", "tests.run:quick", 40),
)
"""3 minutes."""


def budget_of(steps: Iterable[Step]) -> float:
    """Return the seconds that steps may take together."""
    return sum(step.limit for step in steps)

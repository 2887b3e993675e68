"""What a step says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PASSED, FAILED, STOPPED, SKIPPED = "passed", "failed", "stopped", "skipped"


@dataclass
class Outcome:
    """One row of the final table.

    Attributes
    ----------
    status : str
        "passed", "failed", "skipped", or "stopped": its time was up, and it has some of its rows.
    detail : str
        One line: what was seen, what is wrong, or why nothing was done.
    figures : dict
        Everything measured, in JSON types.
    text : str
        A table to print below the final one, or nothing.
    rows : list of dict
        What the step gave to `rows.add`; the runner fills it in.
    """

    status: str
    detail: str
    figures: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)


class SkipStepError(Exception):
    """Raised by a step that can't be done here; the message says why."""

"""What a step says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass
class Outcome:
    """One row of the final table.

    Attributes
    ----------
    status : str
        "passed", "failed" or "skipped".
    detail : str
        One line: what was seen, what is wrong, or why nothing was done.
    figures : dict
        Everything measured, in JSON types.
    text : str
        A table to print below the final one, or nothing.
    """

    status: str
    detail: str
    figures: dict[str, Any] = field(default_factory=dict)
    text: str = ""


class SkipStepError(Exception):
    """Raised by a step that can't be done here; the message says why."""

"""A problem with a table: where it is, its consequence, and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass

ROWS = "rows"


@dataclass(frozen=True)
class Finding:
    """A problem with a column or with rows. `found` states the problem, with a row or a count.

    Only `consequence` ends with a period.
    """

    subject: str
    found: str
    consequence: str
    remedy: str

    @property
    def brief(self) -> str:
        return f"{self.subject}: {self.found}. {self.remedy}"

    def __str__(self) -> str:
        return f"{self.subject}: {self.found}. {self.consequence} {self.remedy}"

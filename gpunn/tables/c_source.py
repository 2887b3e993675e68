"""What the formulas of columns ask of a source in C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["CSource"]


class CSource(Protocol):
    """The functions in C that a schema can use, and the text of constants."""

    def name(self, function: str) -> str:
        """Return what a function is called in the source, which then has it."""

    def array(self, name: str, values: Sequence[float] | Sequence[str], label: str) -> str:
        """Return the definition of an array of numbers or strings; errors name the label."""

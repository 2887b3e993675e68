"""What the encoders of columns ask of a source in C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

__all__ = ["CSource"]


class CSource(Protocol):
    """Functions in C that a schema can use, and the text of constants."""

    markers: list[str]
    """Numbers that mean a missing value."""

    def name(self, function: str) -> str:
        """Return what a function is called in the source, which then has it."""

    def array(self, name: str, values: Sequence[float] | Sequence[str], label: str) -> str:
        """Return the definition of an array of numbers or strings; errors name the label."""

    def scaled(self, scale: Mapping[str, Any]) -> tuple[str, str]:
        """Return constants, and the expression of a `number` on a scale."""

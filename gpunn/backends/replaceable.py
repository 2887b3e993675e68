"""Numbers in recorded operations that a later use of the recording may replace.

A recording contains numbers such as a network's L2 penalty. If a network records such a number as a
`ReplaceableFloat` or `ReplaceableInt`, another network of the same kind can use the recording with
another number (`Backend.sequence`). The number is found by identity, never by its value.
"""

from __future__ import annotations


class ReplaceableFloat(float):
    """A float that a recording keeps as an argument that can be replaced."""


class ReplaceableInt(int):
    """An integer that a recording keeps as an argument that can be replaced."""

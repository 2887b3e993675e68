"""Where two values of JSON types differ, such as the descriptions of two networks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

__all__ = ["differences", "network_differences"]

INITIALIZERS = frozenset(["initializer", "bias_initializer"])
"""Parameters of layers that matter only until there are values."""


def differences(old: Any, new: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield where two values differ, with what is there.

    Of two things with different names, only these: their parameters have little in common.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        if old.get("name") != new.get("name"):
            yield f"{place}.name", old.get("name"), new.get("name")
            return
        for key in {**old, **new}:
            yield from differences(old.get(key), new.get(key), f"{place}.{key}")
    elif isinstance(old, list) and isinstance(new, list):
        for index, pair in enumerate(zip_longest(old, new)):
            yield from differences(*pair, f"{place}[{index}]")
    elif old != new:
        yield place, old, new


def network_differences(old: Any, new: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield where two descriptions of a network differ, but for how its parameters began.

    Whoever takes parameters from a file has no use for initializers. A default one may have changed
    since the file was written.
    """
    for where, theirs, ours in differences(old, new, place):
        if not INITIALIZERS.intersection(where.split(".")):
            yield where, theirs, ours

"""Differences between two values of JSON types, such as the configurations of two networks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

__all__ = ["differences", "network_differences"]

INITIALIZERS = frozenset(["initializer", "bias_initializer"])
"""Parameters of layers that have no effect once there are values."""


def differences(old: Any, new: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, old, new) for each difference.

    For two objects with different names only the names, since their parameters differ anyway.
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
    """Yield (path, old, new) for each difference between two networks, except initializers.

    They have no effect on a network whose parameters come from a file, and the default may have
    changed since the file was written.
    """
    for where, theirs, ours in differences(old, new, place):
        if not INITIALIZERS.intersection(where.split(".")):
            yield where, theirs, ours

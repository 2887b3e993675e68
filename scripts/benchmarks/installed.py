"""What distributions take on disk, with all that they require."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["installed_mb"]


def required(
    distribution: importlib.metadata.Distribution, extras: Iterable[str]
) -> list[Requirement]:
    """Return what a distribution requires on this machine."""
    every = map(Requirement, distribution.requires or [])
    return [
        each
        for each in every
        if each.marker is None
        or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]


def installed_mb(requirement: str) -> float | None:
    """Return the megabytes of a distribution and all that it requires; None if it is not here.

    The requirement may have extras, as in "lightgbm[scikit-learn]".
    """
    seen: dict[str, int] = {}
    left = [Requirement(requirement)]
    while left:
        wanted = left.pop()
        name = canonicalize_name(wanted.name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if not seen:
                return None
            continue
        left += [
            each
            for each in required(distribution, wanted.extras)
            if canonicalize_name(each.name) not in seen
        ]
        paths = [file.locate() for file in distribution.files or []]
        seen[name] = sum(path.stat().st_size for path in paths if path.exists())
    return sum(seen.values()) / 1e6

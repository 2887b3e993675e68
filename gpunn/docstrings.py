"""Docstrings of classes, completed by entries of other classes' docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

NEXT = r"\n\n(?:Raises|See Also|Notes|Examples)\n-"
"""The beginning of the section before which a missing section is added."""


def section_of(text: str, section: str) -> slice | None:
    start = text.find(f"\n\n{section}\n---") + 2
    if start < 2:
        return None
    following = re.compile(r"\n\n\S[^\n]*\n---").search(text, start)
    return slice(start, following.start() if following else len(text.rstrip()))


def entries_of(text: str, section: str) -> dict[str, str]:
    """Return a section's entries by name. Several names may have the same entry."""
    found = section_of(text, section)
    _title, _line, *entries = re.split(r"\n(?=\S)", text[found]) if found else ("", "")
    return {name: each for each in entries for name in each.partition(" : ")[0].split(", ")}


def completed(
    cls: type, others: Iterable[type], section: str, order: Iterable[str] | None = None
) -> str:
    """Return the docstring of `cls`, and add entries that `section` lacks.

    Each added entry is copied from the first class in `others` that has the entry. `order` lists
    the names of the result's entries. Without `order`, the result has the entries of all classes.
    """
    text, *texts = (inspect.cleandoc(each.__doc__ or "") for each in (cls, *others))
    every: dict[str, str] = {}
    for each in (*reversed(texts), text):
        every |= entries_of(each, section)
    names = every if order is None else [name for name in order if name in every]
    entries = dict.fromkeys(every[name] for name in names)
    if not entries:
        return f"{text}\n"
    body = "\n".join((section, "-" * len(section), *entries))
    if found := section_of(text, section):
        return f"{text[: found.start]}{body}{text[found.stop :]}\n"
    following = re.search(NEXT, text)
    place = following.start() if following else len(text)
    return f"{text[:place]}\n\n{body}{text[place:]}\n"

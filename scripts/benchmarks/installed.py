"""How much room distributions take on disk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Iterable
from pathlib import Path


def installed_bytes(names: Iterable[str]) -> int:
    """Return the size of the distributions' files, and of all that they require.

    What only an extra requires is left out, and so is what is not installed, such as a
    requirement of another platform.
    """
    waiting, done, size = list(names), set(), 0
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in done:
            continue
        done.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        size += distribution_bytes(distribution)
        for requirement in distribution.requires or ():
            found = re.match(r"[\w.-]+", requirement)
            if found and not re.search(r"\bextra\s*==", requirement):
                waiting.append(found[0])
    return size


def distribution_bytes(distribution: importlib.metadata.Distribution) -> int:
    """Return the size of its files; of an editable one, those of its packages."""
    files = [Path(str(file.locate())) for file in distribution.files or ()]
    address = json.loads(distribution.read_text("direct_url.json") or "{}")
    if address.get("dir_info", {}).get("editable"):
        spec = importlib.util.find_spec(distribution.name)
        for folder in (spec and spec.submodule_search_locations) or ():
            files += Path(folder).rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())

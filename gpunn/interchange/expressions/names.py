"""Names of generated functions."""

import re
from collections.abc import Callable, Collection

from gpunn.interchange.expressions.rows import RowFunction


def legal_name(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"function_{plain}".strip("_")


class Printed:
    """Collects functions' source code under unique names.

    Two functions share a name only if both their source and their wanted name are equal.
    """

    def __init__(
        self, source: Callable[[RowFunction, str], str], taken: Collection[str] = ()
    ) -> None:
        self._source, self._taken = source, set(taken)
        self._names: dict[str, str] = {}
        self.sources: dict[str, str] = {}

    def name(self, wanted: str, function: RowFunction) -> str:
        content = self._source(function, wanted)
        if content not in self._names:
            name, number = wanted, 2
            while name in self._taken:
                name, number = f"{wanted}_{number}", number + 1
            self._taken.add(name)
            self._names[content] = name
            self.sources[name] = self._source(function, name)
        return self._names[content]

"""Several programs that one thread runs in one call; their arguments can be replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.library import loaded_library
from gpunn.backends.numpy.compiled.program import Cell, Program, put


class ProgramSequence:
    """Programs in order, each with how often it runs. A call runs only the first `count` programs.

    The call releases Python's lock (GIL).
    """

    def __init__(self, programs: Sequence[Program], rows: Sequence[list[tuple[int, ...]]]) -> None:
        self._programs = list(dict.fromkeys(programs))
        self._table = np.array([row for each in rows for row in each], np.int64)
        self._ends = np.cumsum([len(each) for each in rows]).tolist()
        self._address = self._table.ctypes.data
        self._run = loaded_library().run_parts
        self._replacements: Sequence[Any] = ()

    @classmethod
    def of(cls, parts: Sequence[tuple[Program, int]]) -> ProgramSequence | None:
        rows = [program.parts(times) for program, times in parts]
        found = [row for row in rows if row is not None]
        if len(found) < len(rows) or not any(found):
            return None
        return cls([program for program, _ in parts], found)

    def __call__(self, count: int) -> None:
        self._run(self._address, self._ends[count - 1])

    def replacer(self, arguments: Sequence[Any]) -> Callable[[Sequence[Any]], None] | None:
        cells: list[Cell] = []
        for program in self._programs:
            found = program.cells(arguments)
            if found is None:
                return None
            cells += found

        def replace(values: Sequence[Any]) -> None:
            put(cells, values)
            self._replacements = values  # since the tables contain only addresses

        return replace

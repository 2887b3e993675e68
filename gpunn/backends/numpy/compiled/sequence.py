"""Several programs with replaceable arguments, which one thread runs in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from gpunn.backends.numpy.compiled.conflicts import known_extents
from gpunn.backends.numpy.compiled.library import loaded_library
from gpunn.backends.numpy.compiled.program import Program, put


class ProgramSequence:
    """Programs that run in order, each a certain number of times.

    One call runs the whole sequence one or more times, without Python's lock (GIL).
    """

    def __init__(
        self, programs: Sequence[Program], rows: Sequence[tuple[int, ...]], times: int
    ) -> None:
        self._programs = list(dict.fromkeys(programs))
        self._length = len(rows)
        self._table = np.tile(np.array(rows, np.int64), (times, 1))
        self._address = self._table.ctypes.data
        self._run = loaded_library().run_parts

    @classmethod
    def of(cls, parts: Sequence[tuple[Program, int]], times: int) -> ProgramSequence | None:
        found = [program.parts(count) for program, count in parts]
        rows = [row for each in found if each is not None for row in each]
        if None in found or not rows:
            return None
        return cls([program for program, _ in parts], rows, times)

    def __call__(self, times: int) -> None:
        self._run(self._address, times * self._length)

    def replacer(self, arguments: Sequence[Any]) -> Callable[[Sequence[Any]], None] | None:
        with known_extents():
            found = [program.cells(arguments) for program in self._programs]
        cells = [cell for each in found if each is not None for cell in each]
        return None if None in found else partial(put, cells)

"""A run of the benchmark: its processes, and whose turn it is."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import click

from benchmarks.catalogue import FLOOR
from benchmarks.process import FailedError, Worker, busy_seconds
from benchmarks.quietness import Turn, Watch

Cell = TypeVar("Cell", bound=Hashable)
Measured = dict[tuple[Cell, str], list[Turn]]


@dataclass(frozen=True)
class Rounds:
    """How often everybody's turn comes.

    Attributes
    ----------
    repetitions : int
        Turns of each competitor in each cell.
    extra : int
        More turns at most, for competitors that had no quiet one in a cell.
    """

    repetitions: int
    extra: int


class Session(AbstractContextManager["Session"]):
    """Owns the processes and the watch; a context that ends them."""

    def __init__(self, threads: int, rounds: Rounds) -> None:
        self.threads = threads
        self.rounds = rounds
        self.failures: list[str] = []
        self.workers: dict[str, Worker] = {}
        self._timekeeper = Worker(FLOOR, threads)
        self.watch = Watch(lambda: self._timekeeper.ask("reference")["gflops"], busy_seconds)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end_workers()
        self._timekeeper.close()

    def libraries(self) -> dict[str, Any]:
        """Return the libraries that NumPy computes with."""
        return self._timekeeper.ask("libraries")

    def end_workers(self) -> None:
        """End the competitors' processes."""
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()

    def measure(
        self,
        cells: Sequence[Cell],
        names: Sequence[str],
        question: Callable[[Cell, int], dict[str, Any]],
        *,
        fresh: bool = False,
    ) -> Measured[Cell]:
        """Ask everybody in turn, and return the turns of each (cell, name).

        Parameters
        ----------
        question : callable
            From the cell and the number of the round to a job and its arguments.
        fresh : bool
            Whether each turn gets a new process.
        """

        def turn(cell: Cell, name: str, number: int) -> Turn:
            if not fresh:
                return self._turn(self._worker(name), question(cell, number))
            worker = Worker(name, self.threads)
            try:
                return self._turn(worker, question(cell, number))
            finally:
                worker.close()

        return self.rotate(cells, names, turn)

    def rotate(
        self, cells: Sequence[Cell], names: Sequence[str], turn: Callable[[Cell, str, int], Turn]
    ) -> Measured[Cell]:
        """Let everybody take turns, and more of them where none was quiet.

        One that fails in a cell is left out of that cell from then on.
        """
        measured: Measured[Cell] = {(cell, name): [] for cell in cells for name in names}
        failed: set[tuple[Cell, str]] = set()
        for number in range(self.rounds.repetitions + self.rounds.extra):
            wanting = [
                key
                for key, turns in measured.items()
                if key not in failed
                and (number < self.rounds.repetitions or not any(map(self.watch.quiet, turns)))
            ]
            for cell, name in wanting:
                try:
                    measured[cell, name].append(turn(cell, name, number))
                except FailedError as failure:
                    failed.add((cell, name))
                    self.failures.append(f"{cell}: {failure}")
                    click.echo(f"{cell}: {failure}", err=True)
            if wanting:
                click.echo(f"round {number + 1}: {len(wanting)} turns done", err=True)
        return measured

    def _turn(self, worker: Worker, question: dict[str, Any]) -> Turn:
        worker.ask("ready")  # its start is not part of the turn
        return self.watch.turn(lambda: worker.ask(**question), worker.processor_seconds)

    def _worker(self, name: str) -> Worker:
        if name not in self.workers or not self.workers[name].alive:
            self.workers[name] = Worker(name, self.threads)
        return self.workers[name]

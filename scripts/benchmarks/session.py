"""The competitors' processes, their turns, and which turns were undisturbed (quiet).

Shared machines change their speed for seconds to minutes. So a reference product is timed before
and after every turn. A turn counts only if both were nearly as fast as the fastest of the run.
"""

from __future__ import annotations

import os
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from benchmarks.competitors import FLOOR, process_environment

SLOWER = 0.9
"""If a reference product is slower than this share of the best speed, the turn is disturbed."""

SETTLING = 0.06
"""Seconds until a library's threads stop spinning and sleep."""

FIRST_LOOKS = 5
"""Number of reference products before the first turn, to find the machine's speed."""


class FailedError(Exception):
    """Raised if a competitor could not do its job; the message has the reason."""


class Worker:
    def __init__(
        self,
        name: str,
        threads: int,
        python: str = sys.executable,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name = name
        environment = {**process_environment(name, threads), **environment}
        scripts = str(Path(__file__).resolve().parents[1])
        path = [scripts, *filter(None, [environment.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", name],
            env={**environment, "PYTHONPATH": os.pathsep.join(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, job: str, **arguments: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            pickle.dump((job, arguments), self.process.stdin)
            self.process.stdin.flush()
            answer: dict[str, Any] = pickle.load(self.process.stdout)
        except (BrokenPipeError, EOFError):
            status = self.process.wait()
            raise FailedError(f"{self.name}: its process ended, exit status {status}") from None
        if "error" in answer:
            raise FailedError(f"{self.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        self.process.communicate()


@dataclass
class Turn:
    """A competitor's answer; `reference` is the slower of the products around it, in GFLOP/s."""

    answer: dict[str, Any]
    reference: float
    session: Session

    @property
    def quiet(self) -> bool:
        return self.reference >= SLOWER * max(self.session.references)


Answer = dict[str, Any]
Cell = Any
Measured = dict[tuple[Cell, str], list[Turn]]


@dataclass
class Session:
    """A run of the benchmark; as a context, it ends its processes.

    Each competitor has `threads` threads and, in each cell, `repetitions` turns. If all of these
    were disturbed, it gets up to `extra` more.
    """

    threads: int
    repetitions: int
    extra: int
    failures: list[str] = field(default_factory=list)
    references: list[float] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    workers: dict[str, Worker] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)  # FMA, in GFLOP/s, by dtype

    def __enter__(self) -> Session:
        self.timekeeper = Worker(FLOOR, self.threads)
        for _ in range(FIRST_LOOKS):
            self.look()
        return self

    def __exit__(self, *error: object) -> None:
        for worker in (*self.workers.values(), self.timekeeper):
            worker.close()

    def libraries(self) -> list[dict[str, Any]]:
        libraries: list[dict[str, Any]] = self.timekeeper.ask("libraries")["libraries"]
        return libraries

    def fma_peak(self, dtype: str) -> float | None:
        """Measure the processor's FMA peak and return the highest so far, in GFLOP/s.

        Return None if it cannot be measured, because llvmlite is not installed.
        """
        try:
            answer = self.timekeeper.ask("fma_peak", threads=self.threads, dtype=dtype)
        except FailedError as failure:
            click.echo(f"The FMA peak is left out: {failure}", err=True)
            return None
        self.peaks[dtype] = max(answer["gflops"], self.peaks.get(dtype, 0.0))
        return self.peaks[dtype]

    def summary(self) -> str:
        speeds, quiet = self.references, sum(turn.quiet for turn in self.turns)
        return (
            f"{quiet} of {len(self.turns)} turns were undisturbed. "
            f"Reference product: {min(speeds):.0f} to {max(speeds):.0f} GFLOP/s, "
            f"median {statistics.median(speeds):.0f}."
        )

    def measure(
        self,
        cells: Sequence[Cell],
        names: Sequence[str],
        question: Callable[[Cell, int], tuple[str, dict[str, Any]]],
        *,
        fresh: bool = False,
    ) -> Measured:
        def answer(cell: Cell, name: str, number: int) -> Callable[[], dict[str, Any]]:
            if fresh and name in self.workers:
                self.workers.pop(name).close()
            if name not in self.workers or self.workers[name].process.poll() is not None:
                self.workers[name] = Worker(name, self.threads)
            worker = self.workers[name]
            worker.ask("ready")  # its start is not part of the turn
            job, arguments = question(cell, number)
            return lambda: worker.ask(job, **arguments)

        return self.rotate(cells, names, answer)

    def rotate(
        self,
        cells: Sequence[Cell],
        names: Sequence[str],
        prepare: Callable[[Cell, str, int], Callable[[], dict[str, Any]]],
    ) -> Measured:
        """Give all competitors their turns; a competitor that fails is left out of the cell."""
        measured: Measured = {(cell, name): [] for cell in cells for name in names}
        failed = set()
        for number in range(self.repetitions + self.extra):
            for key, turns in measured.items():
                enough = number >= self.repetitions and any(turn.quiet for turn in turns)
                if key in failed or enough:
                    continue
                try:
                    turns.append(self.turn(prepare(*key, number)))
                except FailedError as failure:
                    failed.add(key)
                    self.failures.append(f"{key[0]}: {failure}")
                    click.echo(f"failed: {self.failures[-1]}", err=True)
            click.echo(f"round {number + 1} is done", err=True)
        return measured

    def turn(self, work: Callable[[], dict[str, Any]]) -> Turn:
        before = self.references[-1]
        answer = work()
        self.turns.append(Turn(answer, min(before, self.look()), self))
        return self.turns[-1]

    def look(self) -> float:
        time.sleep(SETTLING)
        self.references.append(self.timekeeper.ask("reference")["gflops"])
        time.sleep(SETTLING)
        return self.references[-1]

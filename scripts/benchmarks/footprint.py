"""The subcommand that measures start, disk and memory."""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.competitors import EVERYBODY, FLOOR, process_environment
from benchmarks.figures import Figure, figures
from benchmarks.machine import installed_bytes
from benchmarks.options import DATA, Names, subcommand, trainers
from benchmarks.session import Answer, FailedError, Session, Worker
from benchmarks.work import MNIST_TASKS


@subcommand("footprint", DATA)
def footprint(session: Session, names: Names, folder: str) -> list[Figure]:
    """Import time, whole processes, installed size, peak memory; gemm is NumPy and the data."""
    chosen = trainers(names)
    competitors = [*chosen, FLOOR]
    cells = {
        "import, s": lambda each: each.imports,
        "import of all that trains, s": lambda each: f"{each.imports}; {each.uses}",
    }

    def importing(cell: str, name: str, turn: int) -> Callable[[], Answer]:
        statements = cells[cell](EVERYBODY[name])
        return lambda: import_seconds(name, statements, session.threads)

    for name in competitors:  # so that the first turn also reads from memory, not from disk
        importing(list(cells)[-1], name, 0)()
    measured = session.rotate(list(cells), competitors, importing)
    measured |= session.rotate(
        ["a process that fits a tiny network, s"],
        chosen,
        lambda cell, name, turn: lambda: tiny_fit(Worker, name, session.threads),
    )
    results = figures(measured, lambda a: [a["seconds"]])
    for task, some in ((MNIST_TASKS["1"], chosen), (None, [FLOOR])):
        arguments = {"task": task, "folder": folder}
        peaks = session.measure(
            ["peak memory of an epoch, MB"],
            some,
            lambda cell, turn, arguments=arguments: ("peak_memory", arguments),
            fresh=True,
        )
        results += figures(peaks, lambda a: [a["bytes"] / 1e6])
    for name in competitors:
        size = installed_bytes(EVERYBODY[name].packages) / 1e6
        cell = "installed with all requirements, MB"
        results.append(Figure(cell, name, size, size, 0.0, 1, 1, [[size]], compared=True))
    return results


def import_seconds(name: str, statements: str, threads: int) -> Answer:
    code = (
        f"import time\nbegan = time.perf_counter()\n{statements}\n"
        "print(time.perf_counter() - began)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=process_environment(name, threads),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FailedError(f"{statements}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return {"seconds": float(done.stdout.split()[-1])}


def tiny_fit(start: Callable[..., Worker], *arguments: Any) -> Answer:
    began = time.perf_counter()
    worker = start(*arguments)
    try:
        worker.ask("tiny")
    finally:
        worker.close()
    return {"seconds": time.perf_counter() - began}

"""What can be measured: a module each, with `run(session, names, plan)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.modes import footprint, gemm, grid, mnist, predict, subnormals, time_to_98
from benchmarks.plan import Plan, Report
from benchmarks.session import Session

Mode = Callable[[Session, Sequence[str], Plan], Report]

MODES: dict[str, Mode] = {
    "grid": grid.run,
    "mnist": mnist.run,
    "time-to-98": time_to_98.run,
    "predict": predict.run,
    "footprint": footprint.run,
    "gemm": gemm.run,
    "subnormals": subnormals.run,
}

NEED_MNIST = {"mnist", "time-to-98", "predict", "footprint"}

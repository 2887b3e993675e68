"""Measure the cost of checkpoints, logs and NaN detection, with default settings, on MNIST.

scripts/configs/mnist.toml is trained as `gpunn train` does, and in turn without a run's folder and
without the copies for NaN detection. There are two results. The first is the share of time spent in
the folder's methods and the copies. The second is the difference in wall-clock time, which is less
exact under load.
"""

import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import click

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "mnist.toml"
BOUND = 3.0
"""In percent."""


def stopwatch(owner: type, name: str, seconds: dict[str, float]) -> Any:
    method, key = getattr(owner, name), f"{owner.__name__}.{name}"

    def timed(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*arguments, **options)
        finally:
            seconds[key] = seconds.get(key, 0.0) + time.perf_counter() - began

    return mock.patch.object(owner, name, timed)


def train(epochs: int, *, kept: bool) -> tuple[float, dict[str, float]]:
    from gpunn.config import load_config
    from gpunn.experiment import RunFolder, build
    from gpunn.training.divergence.recovery import GoodState, Recovery

    experiment = build(load_config(CONFIG, [f"training.epochs={epochs}"]), "numpy")
    seconds: dict[str, float] = {}
    with ExitStack() as stack:
        if not kept:
            stack.enter_context(mock.patch.object(Recovery, "prepared", return_value=None))
            began = time.perf_counter()
            experiment.run(progress=False)
            return time.perf_counter() - began, seconds
        folder = stack.enter_context(
            RunFolder(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run")
        )
        for name in ("attach", "on_train_begin", "on_updates_end", "on_epoch_end", "on_train_end"):
            stack.enter_context(stopwatch(RunFolder, name, seconds))
        for name in ("__init__", "keep"):
            stack.enter_context(stopwatch(GoodState, name, seconds))
        began = time.perf_counter()
        folder.attach(experiment)
        experiment.run(folder, progress=False)
        return time.perf_counter() - began, seconds


@click.command("overhead", context_settings={"show_default": True})
@click.option("--epochs", type=click.IntRange(1), default=20, help="The configuration has 20.")
@click.option("--repeats", type=click.IntRange(1), default=1)
@click.pass_context
def command(context: click.Context, epochs: int, repeats: int) -> None:
    """Measure the cost of checkpoints, logs and NaN detection on MNIST; the bound is 3 %.

    The environment variable GPUNN_DATA names the folder with MNIST.
    """
    train(1, kept=False)  # imports and compiles the code of every training
    whole, parts, bare = [], [], []
    for _ in range(repeats):
        seconds, spent = train(epochs, kept=True)
        whole.append(seconds)
        parts.append(spent)
        bare.append(train(epochs, kept=False)[0])
    added = statistics.median(100 * sum(p.values()) / s for p, s in zip(parts, whole, strict=True))
    results = {
        "seconds": [round(value, 2) for value in whole],
        "seconds_bare": [round(value, 2) for value in bare],
        "added_up_percent": round(added, 2),
        "by_the_clock_percent": round(
            100 * (statistics.median(whole) / statistics.median(bare) - 1), 2
        ),
        "milliseconds": {
            name: round(1000 * statistics.median(p[name] for p in parts), 1) for name in parts[0]
        },
    }
    click.echo(json.dumps(results, indent=2))
    context.exit(added >= BOUND)

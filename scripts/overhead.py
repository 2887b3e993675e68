#!/usr/bin/env python3
"""What checkpoints, logs and the watch for NaN cost, at default settings, on MNIST.

    GPUNN_DATA=FOLDER python scripts/overhead.py [--epochs 20] [--repeats 1] [--json FILE]

Trains scripts/configs/mnist.toml as `gpunn train` does, and in turn without a run's folder and
without the copies that the watch takes. Two answers: the time spent in the folder's methods and the
copies, added up while it trains, as a part of the whole; and the difference between the two kinds
of training by the clock, which is less exact on a machine that does other things too. An epoch
before that, which is not counted, imports and compiles what any training needs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from gpunn.config import load_config
from gpunn.experiment import RunFolder, build
from gpunn.training.recovery import GoodState
from gpunn.training.trainer import Trainer

CONFIG = Path(__file__).parent / "configs" / "mnist.toml"


class Stopwatch:
    """Adds up the time spent in methods."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, owner: type, name: str) -> Any:
        """Return a patch under which a method is timed."""
        method: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                key = f"{owner.__name__}.{name}"
                took = time.perf_counter() - began
                self.seconds[key] = self.seconds.get(key, 0.0) + took

        return mock.patch.object(owner, name, timed)


def train(epochs: int, batches: int, kept: bool) -> tuple[float, dict[str, float]]:
    """Return the seconds of a training, and those of what is measured where it is kept."""
    settings = [f"training.epochs={epochs}", f"training.batch_size={batches}"]
    experiment = build(load_config(CONFIG, settings), "numpy")
    if not kept:
        with mock.patch.object(Trainer, "_recovery", return_value=None):
            began = time.perf_counter()
            experiment.run(progress=False)
            return time.perf_counter() - began, {}
    stopwatch = Stopwatch()
    methods = ("attach", "on_train_begin", "on_updates_end", "on_epoch_end", "on_train_end")
    with tempfile.TemporaryDirectory() as place, RunFolder(Path(place) / "run") as folder:
        patches = [stopwatch.watch(RunFolder, name) for name in methods]
        patches += [stopwatch.watch(GoodState, name) for name in ("__init__", "keep")]
        for patch in patches:
            patch.start()
        try:
            began = time.perf_counter()
            folder.attach(experiment)
            experiment.run(folder, progress=False)
            return time.perf_counter() - began, stopwatch.seconds
        finally:
            for patch in patches:
                patch.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=20, help="the configuration's own by default")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--json", type=Path, help="add the figures to this file, as a line")
    options = parser.parse_args()
    train(1, options.batch_size, kept=False)
    whole, bare, parts = [], [], []
    for _ in range(options.repeats):
        seconds, spent = train(options.epochs, options.batch_size, kept=True)
        whole.append(seconds)
        parts.append(spent)
        bare.append(train(options.epochs, options.batch_size, kept=False)[0])
    added = [
        100 * sum(spent.values()) / seconds for spent, seconds in zip(parts, whole, strict=True)
    ]
    figures = {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "seconds": [round(value, 2) for value in whole],
        "seconds_bare": [round(value, 2) for value in bare],
        "added_up_percent": [round(value, 2) for value in added],
        "by_the_clock_percent": round(
            100 * (statistics.median(whole) / statistics.median(bare) - 1), 2
        ),
        "milliseconds": {
            name: round(1000 * statistics.median(spent[name] for spent in parts), 1)
            for name in parts[0]
        },
    }
    print(json.dumps(figures, indent=2))
    if options.json:
        with open(options.json, "a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")
    return 0 if statistics.median(added) < 3 else 1


if __name__ == "__main__":
    sys.exit(main())

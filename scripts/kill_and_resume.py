#!/usr/bin/env python3
"""Kill trainings at random moments, resume them, and compare with trainings that were left alone.

    python scripts/kill_and_resume.py [--kills 200] [--sigterm] [--emulated] [--seed 0]

Each run is `gpunn train ... --resume` in a process of its own, which gets SIGKILL after a random
time, again and again until one of the processes comes to its end. Checkpoints are written every few
updates, so that many kills fall into one. Then the weights of the final network, of the best epoch
and of the last checkpoint, the history (less the times) and the final evaluation must be the same,
bit for bit, as those of the same training in one go. --emulated uses CuPy on the tests' emulated
CUDA device (it needs the extra `emulated`), --sigterm sends SIGTERM instead.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

REPOSITORY = Path(__file__).resolve().parents[1]

DATA = """\
backend = "{backend}"

[data]
dataset = "digits"
validation_fraction = 0.2
"""

CONFIGS = {
    "adam, dropout, batch normalisation, early stopping": DATA
    + """\
[model]
layers = [
    {{ name = "rescaling", scale = 0.0625 }},
    {{ name = "dense", units = 64, activation = "relu" }},
    {{ name = "dropout", rate = 0.2 }},
    {{ name = "batch_norm" }},
    {{ name = "dense", units = 10 }},
]
[training]
loss = "softmax_cross_entropy"
optimizer = {{ name = "adam", learning_rate = {{ name = "cosine", rate = 0.01 }} }}
epochs = {epochs}
batch_size = 16
metrics = ["accuracy"]
callbacks = [{{ name = "early_stopping", patience = 50 }}, {{ name = "csv_log", path = "log.csv" }}]
checkpoint_every_updates = {every}
""",
    "momentum, accumulation, standardisation, plateau": DATA.replace(
        "validation_fraction", "standardize = true\nvalidation_fraction"
    )
    + """\
[model]
layers = [{{ name = "dense", units = 32, activation = "tanh" }}, {{ name = "dense", units = 10 }}]
[training]
loss = "softmax_cross_entropy"
epochs = {epochs}
batch_size = 8
gradient_accumulation = 3
class_weight = "balanced"
metrics = ["accuracy", "top_k_accuracy"]
checkpoint_every_updates = {every}
[training.optimizer]
name = "sgd"
momentum = 0.9
max_norm = 1.0
learning_rate = {{ name = "reduce_on_plateau", rate = 0.1, patience = 1, factor = 0.5 }}
""",
    "lion, layer normalisation, one cycle, no shuffling": DATA
    + """\
[model]
layers = [
    {{ name = "rescaling", scale = 0.0625 }},
    {{ name = "dense", units = 48, activation = "gelu" }},
    {{ name = "layer_norm" }},
    {{ name = "dense", units = 10 }},
]
[training]
loss = "softmax_cross_entropy"
optimizer = {{ name = "lion", learning_rate = {{ name = "one_cycle", rate = 0.001 }} }}
epochs = {epochs}
batch_size = 24
shuffle = false
checkpoint_every_updates = {every}
""",
}

EMULATED = """\
import sys
sys.path.insert(0, {tests!r})
import emulated_cuda
emulated_cuda.install()
from gpunn.cli import main
main(prog_name="gpunn")
"""


def command(emulated: bool) -> list[str]:
    if emulated:
        return [sys.executable, "-c", EMULATED.format(tests=str(REPOSITORY / "tests"))]
    return [sys.executable, "-m", "gpunn"]


def train(
    config: Path, run: Path, emulated: bool, limit: float | None, number: signal.Signals
) -> bool:
    """Run or go on with a training; return False if it was ended by the signal."""
    arguments = ["train", str(config), "--output", str(run), "--resume", "--quiet"]
    process = subprocess.Popen(
        [*command(emulated), *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, said = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        _, said = process.communicate()
    # SIGTERM is a signal like others until training begins.
    if process.returncode not in (0, -number, 128 + number):
        raise RuntimeError(f"gpunn ended with {process.returncode}:\n{said}")
    return process.returncode == 0


def stage(run: Path) -> str:
    """Return where a kill has hit a run, as far as its folder shows."""
    checkpoints = run / "checkpoints"
    if not checkpoints.is_dir():
        return "before the first checkpoint"
    if any(run.rglob(".*.part")):
        return "while a file was being written"
    if (run / "final.safetensors").exists():
        return "after training"
    return "while training"


def differences(one: Path, other: Path) -> list[str]:
    """Return in what two runs differ."""
    found = []
    last = [max((run / "checkpoints").glob("*.safetensors")).name for run in (one, other)]
    if last[0] != last[1]:
        found.append(f"last checkpoints {last}")
    for name in ("final", "best", f"checkpoints/{last[0].removesuffix('.safetensors')}"):
        a, b = (load_file(run / f"{name}.safetensors") for run in (one, other))
        same = a.keys() == b.keys() and all(
            a[key].dtype == b[key].dtype and np.array_equal(a[key], b[key]) for key in a
        )
        found += [] if same else [f"{name}: the arrays"]
    for name in ("history.jsonl", "norms.jsonl", "evaluation.json"):
        if facts(one / name) != facts(other / name):
            found.append(name)
    if (one / "log.csv").exists():
        lengths = [len((run / "log.csv").read_text().splitlines()) for run in (one, other)]
        found += [] if lengths[0] == lengths[1] else [f"log.csv: {lengths} lines"]
    return found


def facts(path: Path) -> list[Any]:
    """Return a file's figures, less the times."""
    lines = path.read_text().splitlines()
    rows = (
        [json.loads(line) for line in lines]
        if path.suffix == ".jsonl"
        else [json.loads("".join(lines))]
    )
    times = {"seconds", "samples_per_second"}
    return [{key: row[key] for key in row.keys() - times} for row in rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--emulated", action="store_true")
    parser.add_argument("--sigterm", action="store_true", help="SIGTERM instead of SIGKILL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--every", type=int, default=5, help="updates between checkpoints")
    parser.add_argument("--json", type=Path, help="add the figures to this file, as a line")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    number = signal.SIGTERM if options.sigterm else signal.SIGKILL
    backend = "cupy" if options.emulated else "numpy"
    kills, runs, failures, stages = 0, 0, [], Counter[str]()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        whole: dict[str, tuple[Path, float]] = {}
        names = list(CONFIGS)
        while kills < options.kills:
            name = names[runs % len(names)]
            config = folder / f"{names.index(name)}.toml"
            if name not in whole:
                config.write_text(
                    CONFIGS[name].format(
                        backend=backend, epochs=options.epochs, every=options.every
                    )
                )
                start = time.perf_counter()
                train(config, config.with_suffix(".whole"), options.emulated, None, number)
                whole[name] = config.with_suffix(".whole"), time.perf_counter() - start
            reference, duration = whole[name]
            run = folder / "run"
            shutil.rmtree(run, ignore_errors=True)
            here = 0
            while kills < options.kills:
                # Starting Python takes part of the time, and nothing happens then.
                limit = rng.uniform(0.2, 0.9) * duration
                if train(config, run, options.emulated, limit, number):
                    break
                kills, here = kills + 1, here + 1
                stages[stage(run)] += 1
            else:
                train(config, run, options.emulated, None, number)
            runs += 1
            wrong = differences(reference, run)
            failures += [f"{name}, after {here} kills: {what}" for what in wrong]
            print(
                f"run {runs} ({name}): {here} kills, {'; '.join(wrong) or 'the same'}", flush=True
            )
    figures = {
        "backend": "emulated CuPy" if options.emulated else "NumPy",
        "seed": options.seed,
        "kills": kills,
        "runs": runs,
        "different": len(failures),
        "where": dict(stages),
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(figures, indent=2))
    if options.json:
        with open(options.json, "a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

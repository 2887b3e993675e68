"""Kill trainings at random moments, resume them, and compare with trainings that were left alone.

    python -m tests.robustness.kill_and_resume [--kills 200] [--sigterm] [--emulated] [--seed 0]
    python -m tests.robustness.kill_and_resume --ranks

Each run is `gpunn train ... --resume` in a process of its own, which gets SIGKILL after a random
time, again and again until one of the processes comes to its end. Checkpoints are written every few
updates, so that many kills fall into one. Then the weights of the final network, of the best epoch
and of the last checkpoint, the history (less the times) and the final evaluation must be the same,
bit for bit, as those of the same training in one go; so must the exit status. After that, the
finished run is made longer and killed in the same way. All the while the final network that it has
must stay whole, and so must files of others in the folder. What a killed process was writing must
be gone at the end. --emulated uses CuPy on the tests' emulated CUDA device (it needs the extra
`emulated`), --sigterm sends SIGTERM instead, --only takes the configurations with a word in their
names.

With --ranks each process is `mpiexec -n N gpunn train`, N being 1, 2 or 4 by chance, with four
shards of each batch, and the signal goes to one of the ranks by chance. All ranks have to end
within a minute, or it counts as a hang. What they are compared with was trained by one process.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from digits import BATCH_NORM, COSINE, configuration, dropout
from run_folders import read_lines, without_times
from safetensors.numpy import load_file

REPOSITORY = Path(__file__).resolve().parents[2]

PLATEAU = '{ name = "reduce_on_plateau", rate = 0.1, patience = 1, factor = 0.5 }'
SGD = f'{{ name = "sgd", momentum = 0.9, max_norm = 1.0, learning_rate = {PLATEAU} }}'

CONFIGS = {
    "adam, dropout, batch normalization, early stopping": configuration(
        '{ name = "dense", units = 64, activation = "relu" }',
        dropout(0.2),
        BATCH_NORM,
        optimizer=COSINE,
        batch_size=16,
    )
    + """\
[[training.callbacks]]
name = "early_stopping"
patience = 50
[[training.callbacks]]
name = "csv_log"
path = "log.csv"
[[training.callbacks]]
name = "model_checkpoint"
path = "kept/{updates}.safetensors"
resumable = true
every_updates = 3
keep = 4
""",
    "momentum, accumulation, standardization, plateau": configuration(
        '{ name = "dense", units = 32, activation = "tanh" }',
        optimizer=SGD,
        batch_size=8,
        gradient_accumulation=3,
        class_weight="balanced",
        metrics=["accuracy", "top_k_accuracy"],
    ).replace("validation_fraction", "standardize = true\nvalidation_fraction"),
    "lion, layer normalization, one cycle, no shuffling": configuration(
        '{ name = "dense", units = 48, activation = "gelu" }',
        '{ name = "layer_norm" }',
        optimizer='{ name = "lion", learning_rate = { name = "one_cycle", rate = 0.001 } }',
        batch_size=24,
        shuffle=False,
    ),
    "adam, skipping bad rows, then too many of them": """\
seed = 1

[data]
dataset = "npz"
path = "bad_rows.npz"

[model]
layers = [
    { name = "dense", units = 64, activation = "relu" },
    { name = "dense", units = 1 },
]
[training]
loss = "mean_squared_error"
optimizer = { name = "adam", learning_rate = 0.001 }
batch_size = 8
on_divergence = "skip"
""",
}

FOREIGN = {
    "notes.txt": b"mine",
    "checkpoints/backup-20260101.safetensors": b"mine",
    "checkpoints/.backup-20260101.safetensors.0123abcd.part": b"mine",
}
"""Files in a run's folder that the run has not written, and must leave alone."""

OWN = "[0-9]" * 10 + ".safetensors"
"""Names of the checkpoints that a run writes."""

MPIEXEC = shutil.which(
    "mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
)

HANG = 60
"""Seconds in which all ranks have to end."""

DIVERGED = 1
"""Exit status of a training that diverged."""


def write_bad_rows(path: Path) -> None:
    """Write a data set whose numbers are finite, while what becomes of some rows is not.

    An epoch has 200 updates of 8 rows, 15 or so of them with such a row. As the rows are shuffled,
    more than ten of these come between two report points only in some epochs.
    """
    random_numbers = np.random.default_rng(0)
    X = random_numbers.normal(size=(1600, 4)).astype(np.float32)
    y = X.sum(axis=1)
    X[random_numbers.choice(len(X), 16, replace=False)] = 1e30
    np.savez(path, X=X, y=y)


EMULATED = """\
import sys
sys.path.insert(0, {tests!r})
import emulated_cuda
emulated_cuda.install()
from gpunn.cli import main
main(prog_name="gpunn")
"""


@dataclass(frozen=True)
class Training:
    """Runs `gpunn train --resume` in processes, which get a signal after a while."""

    emulated: bool
    signal: signal.Signals
    ranks: random.Random | None = None

    def go_on(self, config: Path, run: Path, epochs: int, limit: float | None) -> int | None:
        """Begin or go on with a training; return its exit status, None if the signal ended it."""
        command = [sys.executable, "-m", "gpunn"]
        if self.emulated:
            command[1:] = ["-c", EMULATED.format(tests=str(REPOSITORY / "tests"))]
        arguments = ["train", str(config), "--output", str(run), "--resume", "--quiet"]
        if self.ranks is not None:
            arguments += ["--set", "distributed.shards=4", "--set", "distributed.batch_norm=local"]
            if limit is not None:
                size = self.ranks.choice((1, 2, 4))
                command = [str(MPIEXEC), "-n", str(size), *command]
        process = subprocess.Popen(
            [*command, *arguments, "--set", f"training.epochs={epochs}"],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **({"GPUNN_THREADS": "1"} if self.ranks else {})},
        )
        killed = False
        try:
            _, said = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            killed = self.send(process)
            _, said = process.communicate(timeout=HANG if self.ranks else None)
        # SIGTERM is a signal like others until training begins. A launcher that has lost a rank
        # has a status of its own.
        ends = (-self.signal, 128 + self.signal)
        lost_rank = self.ranks is not None and killed and process.returncode not in (0, DIVERGED)
        if process.returncode in ends or lost_rank:
            return None
        if process.returncode not in (0, DIVERGED):
            raise RuntimeError(f"gpunn ended with {process.returncode}:\n{said}")
        return process.returncode

    def send(self, process: subprocess.Popen[str]) -> bool:
        """Send the signal to a process, or to one of the ranks that it has started."""
        started = ranks_of(process.pid) if self.ranks is not None else []
        if self.ranks is None or not started:
            process.send_signal(self.signal)
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.ranks.choice(started), self.signal)
            return True
        return False


def ranks_of(launcher: int) -> list[int]:
    """Return the numbers of the Python processes below one, on Linux."""
    children: dict[int, list[int]] = {}
    python: set[int] = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            name, _, rest = (entry / "stat").read_text().rpartition(")")
            children.setdefault(int(rest.split()[1]), []).append(int(entry.name))
            if "(python" in name:
                python.add(int(entry.name))
    found, below = [], [launcher]
    while below:
        more = children.get(below.pop(), [])
        found += [number for number in more if number in python]
        below += more
    return found


def stage(run: Path) -> str:
    if torn(run):
        return "while a file was being written"
    if not any((run / "checkpoints").glob(OWN)):
        return "before the first checkpoint"
    if (run / "final.safetensors").exists():
        return "with a final network there"
    return "while training"


def torn(run: Path) -> list[Path]:
    return [
        path for path in run.rglob(".*.part") if path.relative_to(run).as_posix() not in FOREIGN
    ]


def lost(run: Path, finals: list[Path]) -> list[str]:
    """Return what is missing in a run's folder, whatever the moment.

    `finals` are the runs of which one's final network must be there; none need be if it is empty.
    """
    found = [
        f"{name} of others" for name, content in FOREIGN.items()
        if not (run / name).is_file() or (run / name).read_bytes() != content
    ]  # fmt: skip
    path = run / "final.safetensors"
    if finals and not any(same_arrays(path, final / "final.safetensors") for final in finals):
        found.append("the final network")
    return found


def differences(one: Path, other: Path) -> list[str]:
    found = []
    last = [max((run / "checkpoints").glob(OWN)).name for run in (one, other)]
    if last[0] != last[1]:
        found.append(f"last checkpoints {last}")
    for name in ("final", "best", f"checkpoints/{last[0].removesuffix('.safetensors')}"):
        same = same_arrays(*(run / f"{name}.safetensors" for run in (one, other)))
        found += [] if same else [f"{name}: the arrays"]
    for name in ("history.jsonl", "norms.jsonl", "evaluation.json"):
        if facts(one / name) != facts(other / name):
            found.append(name)
    if (one / "log.csv").exists():
        lengths = [len((run / "log.csv").read_text().splitlines()) for run in (one, other)]
        found += [] if lengths[0] == lengths[1] else [f"log.csv: {lengths} lines"]
    found += [f"left behind: {path.name}" for path in torn(other)]
    return found


def same_arrays(one: Path, other: Path) -> bool:
    if not (one.exists() and other.exists()):
        return one.exists() == other.exists()
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(
        a[key].dtype == b[key].dtype and np.array_equal(a[key], b[key]) for key in a
    )


def facts(path: Path) -> list[Any]:
    is_lines = path.suffix == ".jsonl"
    return without_times(read_lines(path) if is_lines else [json.loads(path.read_text())])


@dataclass(frozen=True)
class Whole:
    """A run in one go: its folder, the time it took, and the exit status."""

    run: Path
    seconds: float
    status: int | None


def in_one_go(training: Training, config: Path, lengths: Sequence[int]) -> list[Whole]:
    """Train without a kill, then for longer; return both."""
    found = []
    run = config.with_suffix(".run")
    for epochs in lengths:
        start = time.perf_counter()
        status = training.go_on(config, run, epochs, None)
        seconds = time.perf_counter() - start
        kept = shutil.copytree(run, config.with_suffix(f".{epochs}"))
        found.append(Whole(kept, seconds, status))
    return found


@dataclass
class Hunt:
    """What was found so far: where kills hit, and in what runs differ."""

    training: Training
    rng: random.Random
    most: int
    kills: int = 0
    stages: Counter[str] = field(default_factory=Counter)

    def killed_run(
        self, config: Path, run: Path, lengths: Sequence[int], whole: Sequence[Whole]
    ) -> list[str]:
        """Train in a folder, killed again and again, then for longer; return what is wrong."""
        shutil.rmtree(run, ignore_errors=True)
        for name, content in FOREIGN.items():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(content)
        wrong: list[str] = []
        finals: list[Path] = []
        for epochs, reference in zip(lengths, whole, strict=True):
            status = None
            while status is None:
                # Starting Python takes part of the time, and nothing happens then.
                slower = 3 if self.training.ranks else 1  # with more ranks than cores
                limit = self.rng.uniform(0.3, 1.1) * slower * reference.seconds
                limited = limit if self.kills < self.most else None
                status = self.training.go_on(config, run, epochs, limited)
                if status is None:
                    self.kills += 1
                    self.stages[stage(run)] += 1
                    # The new one may be there already.
                    wrong += lost(run, [*finals, reference.run] if finals else [])
            wrong += differences(reference.run, run) + lost(run, [])
            wrong += [] if status == reference.status else [f"exit status {status}"]
            finals = [reference.run]
        return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--emulated", action="store_true")
    parser.add_argument("--sigterm", action="store_true", help="SIGTERM instead of SIGKILL")
    parser.add_argument("--ranks", action="store_true", help="1, 2 or 4 ranks by chance")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--every", type=int, default=5, help="updates between checkpoints")
    parser.add_argument("--only", default="", help="a word in the configurations' names")
    parser.add_argument("--json", type=Path, help="add the figures to this file, as a line")
    options = parser.parse_args()
    names = [name for name in CONFIGS if options.only in name]
    if not names:
        parser.error(f"--only: none of {list(CONFIGS)} has {options.only!r} in its name")
    number = signal.SIGTERM if options.sigterm else signal.SIGKILL
    if options.ranks and MPIEXEC is None:
        parser.error("--ranks: there is no mpiexec")
    ranks = random.Random(options.seed) if options.ranks else None
    training = Training(options.emulated, number, ranks)
    hunt = Hunt(training, random.Random(options.seed), options.kills)
    runs, different = 0, 0
    lengths = (options.epochs, options.epochs + max(1, options.epochs // 2))
    backend = "cupy" if options.emulated else "numpy"
    every = f"[training]\ncheckpoint_every_updates = {options.every}\n"
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_bad_rows(folder / "bad_rows.npz")
        whole: dict[str, list[Whole]] = {}
        while hunt.kills < options.kills:
            name, before = names[runs % len(names)], hunt.kills
            config = folder / f"{names.index(name)}.toml"
            if name not in whole:
                text = CONFIGS[name].replace("[training]\n", every)
                config.write_text(f'backend = "{backend}"\n{text}')
                whole[name] = in_one_go(training, config, lengths)
            wrong = hunt.killed_run(config, folder / "run", lengths, whole[name])
            runs, different = runs + 1, different + len(wrong)
            found = "; ".join(wrong) or "the same"
            print(f"run {runs} ({name}): {hunt.kills - before} kills, {found}", flush=True)
    figures = {
        "backend": "emulated CuPy" if options.emulated else "NumPy",
        "ranks": "1, 2 or 4" if options.ranks else "1",
        "seed": options.seed,
        "kills": hunt.kills,
        "runs": runs,
        "different": different,
        "where": dict(hunt.stages),
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(figures, indent=2))
    if options.json:
        with open(options.json, "a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())

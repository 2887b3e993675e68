"""Measure gpunn's wheel in an empty environment."""

import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.footprint import tiny_fit
from benchmarks.machine import usable_cores
from benchmarks.mnist import mnist_folder, prepared_mnist
from benchmarks.session import Worker
from benchmarks.work import MNIST_TASKS

ROOT = Path(__file__).resolve().parents[2]
BOUNDS = {
    "installed with all requirements, MB": 100.0,
    "first process ever that fits a tiny network, s": 0.5,
    "peak memory of an epoch of MNIST, MB": 330.0,
}

NO_OTHER_PATH = {"PYTHONPATH": "", "PYTHONSAFEPATH": "1"}
"""Environment variables with which Python imports only installed packages."""


@click.command("wheel", context_settings={"show_default": True})
@click.argument(
    "wheel", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--extra", "extras", multiple=True, help="Extra of gpunn to install.")
@click.option("--repeats", type=click.IntRange(1), default=5, help="Number of processes.")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.pass_context
def command(
    context: click.Context,
    wheel: Path | None,
    extras: Sequence[str],
    repeats: int,
    data: Path | None,
) -> None:
    """Disk, first process and memory of gpunn installed from its WHEEL in an empty environment.

    Without WHEEL, it is built from this tree. pip installs the requirements. The exit status is 1
    if a stated bound is exceeded.
    """
    folder = context.with_resource(prepared_mnist(mnist_folder(data)))
    with tempfile.TemporaryDirectory() as temporary:
        wheel = wheel or built(Path(temporary) / "wheels")
        python = installed(wheel, extras, Path(temporary) / "environment")
        results = {"installed with all requirements, MB": installed_megabytes(python)}
        results |= measure("gpunn", str(python), Path(temporary), repeats, folder)
        engine = described(python)
    click.echo(f"{wheel.name}{list(extras) or ''}, {usable_cores()} threads: {engine}")
    for what, value in results.items():
        bound = f" (bound {BOUNDS[what]:g})" if what in BOUNDS else ""
        click.echo(f"{what:<50} {value:8.3f}{bound}")
    context.exit(any(results[what] > bound for what, bound in BOUNDS.items()))


def built(folder: Path) -> Path:
    """Return the wheel of this tree, built in this environment, whose numba builds the kernels."""
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def installed(wheel: Path, extras: Sequence[str], folder: Path) -> Path:
    venv.create(folder, symlinks=True)
    paths = folder / "bin" / "python", folder / "Scripts" / "python.exe"
    python = next(path for path in paths if path.exists())
    extra = f"[{','.join(extras)}]" if extras else ""
    pip("--python", python, "install", "--quiet", f"{wheel}{extra}")
    return python


def pip(*arguments: Any) -> None:
    subprocess.run([sys.executable, "-m", "pip", *map(str, arguments)], check=True, stdout=2)


def installed_megabytes(python: Path) -> float:
    sites = python.parents[1].rglob("site-packages")
    files = [file for site in sites for file in site.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def described(python: Path) -> str:
    code = "import gpunn; print(gpunn.get_backend('numpy').describe()['library'])"
    output = subprocess.check_output([python, "-c", code], env={**os.environ, **NO_OTHER_PATH})
    return output.decode().strip()


def measure(name: str, python: str, temporary: Path, repeats: int, folder: str) -> dict[str, float]:
    """Return seconds and memory of this interpreter's processes, each with a separate home."""

    def started(home: str) -> Worker:
        paths = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "GPUNN_CACHE_DIR"), home)
        return Worker(name, usable_cores(), python, {**paths, **NO_OTHER_PATH})

    first, later = [], []
    for _ in range(repeats):
        home = tempfile.mkdtemp(dir=temporary)
        first.append(tiny_fit(started, home)["seconds"])
        later.append(tiny_fit(started, home)["seconds"])
    worker = started(home)
    peak = worker.ask("peak_memory", folder=folder, task=MNIST_TASKS["1"])["bytes"]
    worker.close()
    return {
        "first process ever that fits a tiny network, s": statistics.median(first),
        "later process, s": statistics.median(later),
        "peak memory of an epoch of MNIST, MB": peak / 1e6,
    }

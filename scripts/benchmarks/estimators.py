"""Compare gpunn.sklearn with scikit-learn's estimators: score and time of `fit`, from equal seeds.

Both fit in turn in this process, or with --cold each time in a new one. The order changes with each
seed. The data sets are scikit-learn's bundled ones, and MNIST with the network 784-100-100-10 of
scikit-learn's own benchmark ("MLP-adam").
"""

import json
import os
import pickle
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

import gpunn
from benchmarks import machine
from benchmarks.figures import table
from benchmarks.mnist import mnist_folder

REGRESSION = ("diabetes", "linnerud")
BUNDLED = ("iris", "wine", "breast_cancer", "digits", *REGRESSION)
MNIST_OPTIONS = {
    "hidden_layer_sizes": (100, 100),
    "max_iter": 400,
    "alpha": 1e-4,
    "solver": "adam",
    "learning_rate_init": 0.001,
    "tol": 1e-4,
}


class Problem(NamedTuple):
    name: str
    options: dict[str, Any]
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def bundled(name: str) -> Problem:
    from sklearn import datasets
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    labels = None if name in REGRESSION else y
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=labels)
    scaler = StandardScaler().fit(X)
    if name in REGRESSION:
        targets = StandardScaler().fit(y.reshape(len(y), -1))
        y, y_test = (targets.transform(t.reshape(len(t), -1)).squeeze() for t in (y, y_test))
    return Problem(name, {}, scaler.transform(X), y, scaler.transform(X_test), y_test)


def mnist(folder: Path, dtype: str) -> Problem:
    X, y, X_test, y_test = gpunn.data.load_mnist(folder)
    X, X_test = (pixels.reshape(len(pixels), -1).astype(dtype) / 255 for pixels in (X, X_test))
    return Problem("mnist", MNIST_OPTIONS, X, y, X_test, y_test)


def fit(problem: Problem, library: str, **options: Any) -> dict[str, float]:
    import sklearn.neural_network

    import gpunn.sklearn

    module = gpunn.sklearn if library == "gpunn" else sklearn.neural_network
    estimator = getattr(module, kind(problem))(**options_of(problem, library, options))
    began = time.perf_counter()
    estimator.fit(problem.X, problem.y)
    seconds = time.perf_counter() - began
    score = float(estimator.score(problem.X_test, problem.y_test))
    return {"seconds": seconds, "score": score, "epochs": estimator.n_iter_}


def kind(problem: Problem) -> str:
    return "MLPRegressor" if problem.name in REGRESSION else "MLPClassifier"


def options_of(problem: Problem, library: str, options: dict[str, Any]) -> dict[str, Any]:
    own = {"backend": "numpy"} if library == "gpunn" else {}
    return {**problem.options, **own, **options}


COLD_FIT = """
import pickle, sys, time, warnings
from {module} import {kind}
warnings.simplefilter("ignore")
X, y, X_test, y_test, options = pickle.load(sys.stdin.buffer)
began = time.perf_counter()
estimator = {kind}(**options).fit(X, y)
print(time.perf_counter() - began, estimator.score(X_test, y_test), estimator.n_iter_)
"""


def cold_fit(problem: Problem, library: str, **options: Any) -> dict[str, float]:
    """Fit as `fit` does, in a new process; also return the seconds of the whole process."""
    module = "gpunn.sklearn" if library == "gpunn" else "sklearn.neural_network"
    # pip writes bytecode when it installs; in a clone, the first process writes it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", COLD_FIT.format(module=module, kind=kind(problem))],
        env=environment,
        input=pickle.dumps((*problem[2:], options_of(problem, library, options))),
        stdout=subprocess.PIPE,
        check=True,
    )
    process = time.perf_counter() - began
    seconds, score, epochs = map(float, done.stdout.split())
    return {"seconds": seconds, "score": score, "epochs": epochs, "process": process}


def measure(
    problem: Problem, seeds: Sequence[int], options: dict[str, int], cold: bool
) -> dict[str, Any]:
    fits: dict[str, list[dict[str, float]]] = {"gpunn": [], "scikit-learn": []}
    once = cold_fit if cold else fit
    for library in fits:  # without compiling, importing and starting threads
        once(problem, library, random_state=0, max_iter=1)
    for seed in seeds:
        for library in list(fits)[:: 1 if seed % 2 else -1]:
            fits[library].append(once(problem, library, random_state=seed, **options))
    pairs = zip(*fits.values(), strict=True)
    ratios = [other["seconds"] / own["seconds"] for own, other in pairs]

    def each(average: Callable[[Iterable[float]], float], key: str) -> list[float]:
        return [average([fit[key] for fit in of_one]) for of_one in fits.values()]

    return {
        "data": problem.name,
        "rows": len(problem.X),
        "features": problem.X.shape[1],
        "dtype": problem.X.dtype.name,
        "mean_scores": each(statistics.mean, "score"),
        "median_seconds": each(statistics.median, "seconds"),
        "median_processes": each(statistics.median, "process") if cold else [],
        "ratio": statistics.median(ratios),
        "smallest_ratio": min(ratios),
        "fits": fits,
    }


@click.command("estimators", context_settings={"show_default": True})
@click.argument("data", nargs=-1, type=click.Choice([*BUNDLED, "mnist"]))
@click.option("--seeds", type=click.IntRange(1), default=10, help="Number of fits per library.")
@click.option("--first-seed", default=0, help="First seed; use it to divide a long run.")
@click.option(
    "--max-iter", type=click.IntRange(1), help="Maximum number of epochs, on every data set."
)
@click.option("--folder", type=click.Path(path_type=Path), help="MNIST's. Default: GPUNN_DATA's.")
@click.option("--mnist-dtype", type=click.Choice(["float32", "float64"]), default="float32")
@click.option("--cold", is_flag=True, help="Run each fit in a new process.")
@click.option(
    "--json", "path", type=click.Path(path_type=Path), help="Write every fit to this file."
)
def command(
    data: tuple[str, ...],
    seeds: int,
    first_seed: int,
    max_iter: int | None,
    folder: Path | None,
    mnist_dtype: str,
    cold: bool,
    path: Path | None,
) -> None:
    """Compare gpunn.sklearn with scikit-learn's estimators: score and time of fit.

    DATA: scikit-learn's data sets (the default), or mnist.
    """
    warnings.simplefilter("ignore")
    document: dict[str, Any] = {
        "machine": machine.described(),
        "backend": gpunn.get_backend("numpy").describe()["library"],
        **gpunn.get_backend("numpy").describe(),
        "rows": [],
    }
    lines = []
    for name in data or BUNDLED:
        problem = mnist(mnist_folder(folder), mnist_dtype) if name == "mnist" else bundled(name)
        options = {} if max_iter is None else {"max_iter": max_iter}
        row = measure(problem, range(first_seed, first_seed + seeds), options, cold)
        document["rows"].append(row)
        lines.append(
            [
                *(name, f"{row['rows']} × {row['features']}"),
                *(f"{score:.4f}" for score in row["mean_scores"]),
                *(f"{each:.3f}" for each in row["median_seconds"]),
                *(f"{each:.3f}" for each in row["median_processes"]),
                f"{row['ratio']:.2f} ({row['smallest_ratio']:.2f})",
            ]
        )
        click.echo(f"{name}: {row['ratio']:.2f}", err=True)
        if path is not None:
            path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    head = ["data", "rows × features", "score: gpunn", "scikit-learn"]
    head += ["fit (s): gpunn", "scikit-learn"]
    head += ["process (s): gpunn", "scikit-learn"] if cold else []
    click.echo(table([*head, "times as fast (minimum)"], lines))

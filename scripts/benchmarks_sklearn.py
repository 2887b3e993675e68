"""gpunn.sklearn beside scikit-learn's own estimators: accuracy and time of `fit`, side by side.

    python scripts/benchmarks_sklearn.py --json report.json

Every data set is fitted by both, in turn, from the same seeds, in this one process; the order of
the two changes with each seed. The data sets are those bundled with scikit-learn and, if its folder
is given by --mnist or lies in the folder that GPUNN_DATA names, MNIST with the network
784-100-100-10 of scikit-learn's own benchmark. Where a time limit is reached, the rest is left out
and said to be.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import sklearn.neural_network
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import gpunn
import gpunn.sklearn

LIBRARIES = {"gpunn": gpunn.sklearn, "scikit-learn": sklearn.neural_network}


@dataclass(frozen=True)
class Problem:
    """What is fitted, and how: X, y are the training rows, X_test, y_test judge."""

    name: str
    kind: str
    options: dict[str, Any]
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True)
class Fit:
    """One fit: its time in seconds, its score on the test rows, and the epochs it took."""

    seconds: float
    score: float
    epochs: int


def bundled(name: str) -> Problem:
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    regression = name in ("diabetes", "linnerud")
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=0.3, random_state=0, stratify=None if regression else y
    )
    scaler = StandardScaler().fit(X)
    if regression:
        targets = StandardScaler().fit(y.reshape(len(y), -1))
        y, y_test = (targets.transform(t.reshape(len(t), -1)) for t in (y, y_test))
        y, y_test = (t[:, 0] if t.shape[1] == 1 else t for t in (y, y_test))
    kind = "MLPRegressor" if regression else "MLPClassifier"
    return Problem(name, kind, {}, scaler.transform(X), y, scaler.transform(X_test), y_test)


def mnist(folder: Path, rows: int | None, dtype: str) -> Problem:
    """Return the row "MLP-adam" of scikit-learn's own benchmark on MNIST."""
    X, y, X_test, y_test = gpunn.data.load_mnist(folder)
    X, X_test = (pixels.reshape(len(pixels), -1).astype(dtype) / 255 for pixels in (X, X_test))
    options = {
        "hidden_layer_sizes": (100, 100),
        "max_iter": 400,
        "alpha": 1e-4,
        "solver": "adam",
        "learning_rate_init": 0.001,
        "tol": 1e-4,
    }
    return Problem("mnist", "MLPClassifier", options, X[:rows], y[:rows], X_test, y_test)


def run(problem: Problem, library: str, seed: int, backend: str, max_iter: int | None) -> Fit:
    options = dict(problem.options)
    if library == "gpunn":
        options["backend"] = backend
    if max_iter is not None:
        options["max_iter"] = max_iter
    estimator = getattr(LIBRARIES[library], problem.kind)(random_state=seed, **options)
    began = time.perf_counter()
    estimator.fit(problem.X, problem.y)
    seconds = time.perf_counter() - began
    return Fit(seconds, float(estimator.score(problem.X_test, problem.y_test)), estimator.n_iter_)


def measure(
    problem: Problem, seeds: range, backend: str, max_iter: int | None, ends: float
) -> dict[str, list[Fit]]:
    found: dict[str, list[Fit]] = {library: [] for library in LIBRARIES}
    for library in LIBRARIES:  # compiling, importing and starting threads are no part of it
        run(problem, library, 0, backend, 1)
    for seed in seeds:
        if time.monotonic() > ends:
            break
        for library in list(LIBRARIES)[:: 1 if seed % 2 else -1]:
            found[library].append(run(problem, library, seed, backend, max_iter))
    return found


def row(problem: Problem, found: dict[str, list[Fit]]) -> dict[str, Any]:
    medians = {k: statistics.median(f.seconds for f in fits) for k, fits in found.items()}
    scores = {k: statistics.mean(f.score for f in fits) for k, fits in found.items()}
    each = [
        theirs.seconds / ours.seconds
        for ours, theirs in zip(found["gpunn"], found["scikit-learn"], strict=True)
    ]
    return {
        "data": problem.name,
        "score": "R2" if problem.kind == "MLPRegressor" else "accuracy",
        "rows": len(problem.X),
        "features": problem.X.shape[1],
        "dtype": problem.X.dtype.name,
        "seeds": len(each),
        "mean_score": scores,
        "median_seconds": medians,
        "ratio": statistics.median(each),
        "smallest_ratio": min(each),
        "fits": {library: [asdict(fit) for fit in fits] for library, fits in found.items()},
    }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield (
        "| data | rows × features | score: gpunn | scikit-learn | fit (s): gpunn | scikit-learn |"
        " times as fast (least) |"
    )
    yield "|---|---|---|---|---|---|---|"
    for each in rows:
        score, seconds = each["mean_score"], each["median_seconds"]
        yield (
            f"| {each['data']} | {each['rows']} × {each['features']} "
            f"| {score['gpunn']:.4f} | {score['scikit-learn']:.4f} "
            f"| {seconds['gpunn']:.3f} | {seconds['scikit-learn']:.3f} "
            f"| {each['ratio']:.2f} ({each['smallest_ratio']:.2f}) |"
        )


def environment(backend: str) -> dict[str, Any]:
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "numba": importlib.util.find_spec("numba") is not None,
        **gpunn.get_backend(backend).describe(),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="fits of each (default: 10)")
    parser.add_argument("--first-seed", type=int, default=0, help="the others follow (default: 0)")
    parser.add_argument("--backend", default="numpy", help="gpunn's (default: numpy)")
    parser.add_argument("--mnist", type=Path, help="folder with MNIST's four files")
    parser.add_argument("--mnist-rows", type=int, help="only so many of its training rows")
    parser.add_argument(
        "--mnist-dtype",
        choices=("float32", "float64"),
        default="float32",
        help="type of its pixels, in which both libraries train (default: float32)",
    )
    parser.add_argument("--max-iter", type=int, help="epochs at the most, on every data set")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds in all")
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    parser.add_argument("data", nargs="*", help="only these data sets")
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    folder = chosen.mnist
    if folder is None and "GPUNN_DATA" in os.environ:
        folder = Path(os.environ["GPUNN_DATA"]) / "mnist"
    names = ["iris", "wine", "breast_cancer", "digits", "diabetes", "linnerud"]
    makers = {name: lambda name=name: bundled(name) for name in names}
    if folder is not None and folder.is_dir():
        makers["mnist"] = lambda: mnist(folder, chosen.mnist_rows, chosen.mnist_dtype)
    elif not chosen.data or "mnist" in chosen.data:
        print("mnist left out: its folder is given by --mnist or GPUNN_DATA", file=sys.stderr)
    wrong = set(chosen.data) - set(makers)
    if wrong:
        print(f"no such data: {', '.join(sorted(wrong))}; there are {', '.join(makers)}")
        return 2
    warnings.simplefilter("ignore")
    ends = time.monotonic() + chosen.limit
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    rows = []
    for name in chosen.data or makers:
        problem = makers[name]()
        found = measure(problem, seeds, chosen.backend, chosen.max_iter, ends)
        if not found["gpunn"]:
            print(f"{name} left out: the limit of {chosen.limit:g} s was reached", file=sys.stderr)
            continue
        rows.append(row(problem, found))
        print(f"{name}: {rows[-1]['seeds']} seeds, {rows[-1]['ratio']:.2f}", file=sys.stderr)
    report = {"environment": environment(chosen.backend), "rows": rows}
    print(json.dumps(report["environment"]))
    print("\n".join(table(rows)))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Compare a search of scikit-learn over gpunn's networks, one by one and together, with its own.

`GridSearchCV` fits 20 candidates (32 and 64-32 units, five values of alpha, two learning rates) on
5 folds for 50 epochs. The cases take turns. CPU time includes the processes that scikit-learn
starts for `n_jobs=2`.
"""

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

import gpunn
from benchmarks import machine
from benchmarks.figures import table

GRID = {
    "alpha": [1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
    "learning_rate_init": [1e-3, 1e-2],
    "hidden_layer_sizes": [(32,), (64, 32)],
}


def data_set(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits, make_classification

    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return (X / 16).astype(np.float32), y
    X, y = make_classification(1000, 20, random_state=0)
    return X.astype(np.float32), y


def cpu_seconds() -> float:
    import resource

    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def search(library: str, n_jobs: int | None, values: int, epochs: int) -> Any:
    import sklearn.neural_network
    from sklearn.model_selection import GridSearchCV

    import gpunn.sklearn

    options = {"max_iter": epochs, "batch_size": 200, "random_state": 0}
    if library == "gpunn":
        network = gpunn.sklearn.MLPClassifier(**options, backend="numpy")
    else:
        network = sklearn.neural_network.MLPClassifier(**options)
    grid = {name: choices[:values] for name, choices in GRID.items()}
    return GridSearchCV(network, grid, cv=5, refit=False, n_jobs=n_jobs)


def one_by_one(X: np.ndarray, y: np.ndarray, *size: int) -> Any:
    return search("gpunn", 1, *size).fit(X, y)


def together(X: np.ndarray, y: np.ndarray, *size: int) -> Any:
    with gpunn.sklearn.together():
        return search("gpunn", None, *size).fit(X, y)


def processes(X: np.ndarray, y: np.ndarray, *size: int) -> Any:
    return search("scikit-learn", 2, *size).fit(X, y)


CASES: dict[str, Callable[..., Any]] = {
    "gpunn": one_by_one,
    "gpunn, together": together,
    "scikit-learn, n_jobs=2": processes,
}


@click.command("searches", context_settings={"show_default": True})
@click.argument("data", nargs=-1, type=click.Choice(["digits", "table"]))
@click.option("--repeats", type=click.IntRange(1), default=3)
@click.option("--epochs", type=click.IntRange(1), default=50)
@click.option("--values", type=click.IntRange(1), default=5, help="Values of each parameter.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write all times to a file.")
def command(
    data: tuple[str, ...], repeats: int, epochs: int, values: int, path: Path | None
) -> None:
    """Measure a GridSearchCV of gpunn's networks, one by one and together, and scikit-learn's.

    The table shows the least of the repeated times.
    """
    warnings.simplefilter("ignore")
    document: dict[str, Any] = {"machine": machine.described(), "rows": []}
    lines = []
    for name in data or ("digits", "table"):
        X, y = data_set(name)
        times: dict[str, list[tuple[float, float]]] = {case: [] for case in CASES}
        for _ in range(repeats):
            for case, fit in CASES.items():
                before, began = cpu_seconds(), time.perf_counter()
                fit(X, y, values, epochs)
                wall = time.perf_counter() - began
                times[case].append((cpu_seconds() - before, wall))
        document["rows"].append({"data": name, "times": times})
        for case, pairs in times.items():
            least = (min(column) for column in zip(*pairs, strict=True))
            lines.append([name, case, *(f"{seconds:.2f}" for seconds in least)])
    if path is not None:
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    click.echo(table(["data", "case", "CPU (s)", "wall (s)"], lines))

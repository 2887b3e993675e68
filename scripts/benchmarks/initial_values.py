"""Dense's default initial values beside those of PyTorch, Keras and scikit-learn, on real data.

gpunn trains every network, with the same order of rows for each seed; only the values that it
starts from differ, drawn as each library draws them by default.

Numbers are standardised and texts one-hot encoded, by the training rows (64 %, at most 10,000).
Each network is trained by AdamW with its defaults, until the loss on the validation rows (16 %, at
most 5,000) has not improved for 10 epochs, 40 epochs at most. The best epoch is judged on the test
rows.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

import gpunn
from benchmarks import published_tables
from benchmarks.figures import table
from benchmarks.published_tables import TABLES, found_in, split, tables_in
from gpunn.errors import GpunnWarning
from gpunn.initializers import FanIn, Glorot, Initializer, Uniform, Zeros

TRAINING_ROWS, VALIDATION_ROWS = 10_000, 5_000


class Problem(NamedTuple):
    """A data set: (X, y) of training, validation and test rows; `outputs` is 1 for a regression."""

    name: str
    outputs: int
    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    @property
    def classes(self) -> bool:
        """Whether it is a classification."""
        return self.outputs > 1


NAMES = ("diamonds", "bike sharing", "Ames", "electricity", "credit risk", "dry beans")


def read_table(name: str, path: Path) -> Problem:
    """Return a published table."""
    import pandas as pd

    source = TABLES[name]
    frame, y = published_tables.read(name, path)
    if "datetime" in frame:
        moment = pd.to_datetime(frame.pop("datetime"))
        frame = frame.assign(year=moment.dt.year, month=moment.dt.month, hour=moment.dt.hour)
    labels = y if source.classes else None
    rest, test = split(np.arange(len(y)), labels)
    train, validation = split(rest, labels)
    train, validation = train[:TRAINING_ROWS], validation[:VALIDATION_ROWS]
    numbers = frame.select_dtypes("number").astype(float)
    numbers = numbers.fillna(numbers.iloc[train].median())
    std = numbers.iloc[train].std().replace(0, 1)
    numbers = (numbers - numbers.iloc[train].mean()) / std
    text = frame.select_dtypes(exclude="number").fillna("missing")
    encoded = [pd.get_dummies(text[column], dtype=float) for column in text]
    X = pd.concat([numbers, *encoded], axis=1).to_numpy(np.float32)
    if not source.classes:
        y = ((y - y[train].mean()) / y[train].std()).astype(np.float32)[:, None]
    outputs = int(y.max()) + 1 if source.classes else 1
    return Problem(name, outputs, *((X[rows], y[rows]) for rows in (train, validation, test)))


def images(name: str, data: tuple[np.ndarray, ...], scale: float) -> Problem:
    """Return images, which keep their own test part."""
    X, y, X_test, y_test = data
    X, X_test = (x.reshape(len(x), -1).astype(np.float32) / scale for x in (X, X_test))
    y, y_test = y.astype(np.int64), y_test.astype(np.int64)
    train, validation = split(np.arange(len(y)), y)
    train, validation = train[:TRAINING_ROWS], validation[:VALIDATION_ROWS]
    return Problem(name, 10, (X[train], y[train]), (X[validation], y[validation]), (X_test, y_test))


def problems(folder: Path, only: list[str] | None) -> Iterator[Problem]:
    """Yield the data sets that are there; the others are named and left out."""
    wanted = ["digits", "MNIST", *NAMES] if only is None else only
    if "digits" in wanted:
        yield images("digits", gpunn.data.load_digits(), 16)
    if "MNIST" in wanted and (path := found_in(folder, "MNIST", "mnist")):
        yield images("MNIST", gpunn.data.load_mnist(path), 255)
    for name, path in tables_in(folder, [name for name in NAMES if name in wanted]):
        yield read_table(name, path)


# From the numbers of inputs and outputs of a layer to the initializers of its weights and biases.
Start = Callable[[int, int], tuple[str | Initializer, str | Initializer]]


def scikit_learn(inputs: int, units: int) -> tuple[Initializer, Initializer]:
    """Return U(-l, l) with l = sqrt(6 / (inputs + units)), for both."""
    limit = math.sqrt(6 / (inputs + units))
    return Uniform(limit), Uniform(limit)


STARTS: dict[str, Start] = {
    "gpunn": lambda inputs, units: ("auto", "auto"),
    "PyTorch": lambda inputs, units: (FanIn(), Uniform(1 / math.sqrt(inputs))),
    "Keras": lambda inputs, units: (Glorot(), Zeros()),
    "scikit-learn": scikit_learn,
}


def score(
    problem: Problem,
    start: Start,
    layer: tuple[str, float],
    hidden: list[int],
    epochs: int,
    seed: int,
) -> float:
    """Return the accuracy, or the root of the mean squared error, on the test rows."""
    activation, dropout = layer
    inputs = problem.train[0].shape[1]
    layers: list[gpunn.layers.Layer] = []
    for k, n in itertools.pairwise([inputs, *hidden, problem.outputs]):
        weights, biases = start(k, n)
        last = len(layers) == 2 * len(hidden)
        f = "identity" if last else activation
        layers += [
            gpunn.layers.Dense(n, f, initializer=weights, bias_initializer=biases),
            gpunn.layers.Dropout(dropout),
        ]
    model = gpunn.Sequential(
        layers[:-1], (inputs,), backend=gpunn.get_backend("numpy", threads=1), seed=seed
    )
    trainer = gpunn.Trainer(
        model,
        loss="softmax_cross_entropy" if problem.classes else "mean_squared_error",
        optimizer="adamw",
        metrics=["accuracy"] if problem.classes else [],
    )
    trainer.fit(
        *problem.train,
        epochs=epochs,
        batch_size=min(256, max(16, len(problem.train[0]) // 32)),
        validation_data=problem.validation,
        callbacks=[gpunn.callbacks.EarlyStopping("val_loss", patience=10)],
        progress=False,
    )
    logs = trainer.evaluate(*problem.test)
    return logs["accuracy"] if problem.classes else math.sqrt(logs["loss"])


def behind(problem: Problem, scores: dict[str, list[float]], name: str) -> tuple[float, float]:
    """Return how far one start is behind the best other, in the mean, and the standard error."""
    sign = -1 if problem.classes else 1
    means = {each: sign * statistics.mean(values) for each, values in scores.items()}
    best = min((each for each in means if each != name), key=means.__getitem__)
    errors = (
        statistics.stdev(scores[each]) / math.sqrt(len(scores[each])) for each in (name, best)
    )
    return means[name] - means[best], math.hypot(*errors)


@click.command("initial-values", context_settings={"show_default": True})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seeds", type=click.IntRange(2), default=3)
@click.option("--activations", default="relu,gelu,tanh")
@click.option("--only", help="Data sets, by name, separated by commas.")
@click.option("--hidden", default="256,256", help="Units of the hidden layers.")
@click.option("--dropout", default=0.0, help="After each hidden layer.")
@click.option("--epochs", type=click.IntRange(1), default=40, help="At most.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="File for every score.")
def command(
    folder: Path,
    seeds: int,
    activations: str,
    only: str | None,
    hidden: str,
    dropout: float,
    epochs: int,
    path: Path | None,
) -> None:
    """Dense's initial values beside those of PyTorch, Keras and scikit-learn, on real data.

    FOLDER holds published tables (diamonds.csv, bike_sharing.csv, ames.tsv, electricity.csv,
    credit_risk.csv, dry_beans.csv), by itself or in tables/, and MNIST's four IDX files in mnist/.
    What is missing is left out, and said to be. The digits come with gpunn.
    """
    units = [int(each) for each in hidden.split(",")]
    # The one-hot columns of categories that no training row has are constant.
    warnings.simplefilter("ignore", GpunnWarning)
    document, lines = [], []
    far_behind = dict.fromkeys(STARTS, 0)
    for problem in problems(folder, only.split(",") if only else None):
        for activation in activations.split(","):
            scores = {
                name: [
                    score(problem, start, (activation, dropout), units, epochs, seed)
                    for seed in range(seeds)
                ]
                for name, start in STARTS.items()
            }
            for name in STARTS:
                difference, error = behind(problem, scores, name)
                far_behind[name] += difference > 2 * error
            difference, error = behind(problem, scores, "gpunn")
            means = [f"{statistics.mean(values):.4f}" for values in scores.values()]
            lines.append([problem.name, activation, *means, f"{difference:+.4f} ± {error:.4f}"])
            click.echo(" ".join(lines[-1]), err=True)
            document.append({"data": problem.name, "activation": activation, "scores": scores})
            if path is not None:
                path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    click.echo(table(["data", "activation", *STARTS, "gpunn behind the best other"], lines))
    counts = ", ".join(f"{name} in {count}" for name, count in far_behind.items())
    click.echo(f"Behind the best other by more than two standard errors: {counts} of {len(lines)}")

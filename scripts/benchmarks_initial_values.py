"""Dense's default initial values beside those of PyTorch, Keras and scikit-learn, on real data.

    python scripts/benchmarks_initial_values.py FOLDER --json initial_values.json

gpunn trains every network, with the same order of rows for each seed; only the values that it
starts from differ, drawn as each library draws them by default. FOLDER holds the published tables
that `TABLES` names, by itself or in `tables/`, and MNIST's four IDX files in `mnist/`; the digits
are those that come with gpunn. What is missing is left out, and said to be.

Numbers are standardised and texts one-hot encoded, by the training rows (64 %, at most 10,000).
Each network is trained by AdamW with its defaults, until the loss on the validation rows (16 %, at
most 5,000) has not improved for 10 epochs, 40 epochs at most. The best epoch is judged on the test
rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

import gpunn
from gpunn.errors import GpunnWarning
from gpunn.initializers import FanIn, Glorot, Initializer, Uniform, Zeros
from gpunn.layers import Dense, Dropout, Layer

ACTIVATIONS = ("relu", "gelu", "tanh")
TRAINING_ROWS, VALIDATION_ROWS = 10_000, 5_000


@dataclass(frozen=True)
class Problem:
    """Training, validation and test rows, with labels or with targets of unit variance."""

    name: str
    outputs: int
    X: tuple[np.ndarray, np.ndarray, np.ndarray]
    y: tuple[np.ndarray, np.ndarray, np.ndarray]

    @property
    def classes(self) -> bool:
        return self.outputs > 1


@dataclass(frozen=True)
class Table:
    """How a published file is read; `logarithm` takes log(1 + target)."""

    file: str
    target: str
    classes: bool
    drop: tuple[str, ...] = ()
    logarithm: bool = False


TABLES = {
    "diamonds": Table("diamonds.csv", "price", False),
    "bike sharing": Table("bike_sharing.csv", "count", False, ("casual", "registered"), True),
    "Ames": Table("ames.tsv", "SalePrice", False, ("Order", "PID"), True),
    "electricity": Table("electricity.csv", "class", True, ("Unnamed: 0",)),
    "credit risk": Table("credit_risk.csv", "loan_status", True),
    "dry beans": Table("dry_beans.csv", "Class", True),
}


def parts(rows: int, labels: np.ndarray | None) -> list[np.ndarray]:
    """Return the numbers of training, validation and test rows, the same on every call."""
    found: list[np.ndarray] = []
    rest = np.arange(rows)
    for _ in range(2):
        stratify = None if labels is None else labels[rest]
        rest, held = train_test_split(rest, test_size=0.2, random_state=0, stratify=stratify)
        found.insert(0, held)
    return [rest[:TRAINING_ROWS], found[0][:VALIDATION_ROWS], found[1]]


def read_table(name: str, path: Path) -> Problem:
    source = TABLES[name]
    frame = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
    frame = frame.drop(columns=list(source.drop))
    target = frame.pop(source.target)
    if "datetime" in frame:
        moment = pd.to_datetime(frame.pop("datetime"))
        frame = frame.assign(year=moment.dt.year, month=moment.dt.month, hour=moment.dt.hour)
    if source.classes:
        y = np.unique(target, return_inverse=True)[1].astype(np.int64)
    else:
        y = np.log1p(target.to_numpy(float)) if source.logarithm else target.to_numpy(float)
    split = parts(len(y), y if source.classes else None)
    train = split[0]
    numbers = frame.select_dtypes("number").astype(float)
    numbers = numbers.fillna(numbers.iloc[train].median())
    deviation = numbers.iloc[train].std().replace(0, 1)
    numbers = (numbers - numbers.iloc[train].mean()) / deviation
    text = frame.select_dtypes(exclude="number").fillna("missing")
    encoded = [pd.get_dummies(text[column], dtype=float) for column in text]
    X = pd.concat([numbers, *encoded], axis=1).to_numpy(np.float32)
    if not source.classes:
        y = ((y - y[train].mean()) / y[train].std()).astype(np.float32)[:, None]
    outputs = int(y.max()) + 1 if source.classes else 1
    return Problem(name, outputs, tuple(X[p] for p in split), tuple(y[p] for p in split))


def images(name: str, data: tuple[np.ndarray, ...], scale: float) -> Problem:
    """Images keep their own test part."""
    X, y, X_test, y_test = data
    X, X_test = (x.reshape(len(x), -1).astype(np.float32) / scale for x in (X, X_test))
    train, validation = train_test_split(
        np.arange(len(y)), test_size=0.2, random_state=0, stratify=y
    )
    train, validation = train[:TRAINING_ROWS], validation[:VALIDATION_ROWS]
    y, y_test = y.astype(np.int64), y_test.astype(np.int64)
    return Problem(name, 10, (X[train], X[validation], X_test), (y[train], y[validation], y_test))


def problems(folder: Path) -> Iterator[Problem]:
    yield images("digits", gpunn.data.load_digits(), 16)
    if (folder / "mnist").is_dir():
        yield images("MNIST", gpunn.data.load_mnist(folder / "mnist"), 255)
    else:
        print(f"left out: MNIST ({folder / 'mnist'} is missing)", file=sys.stderr)
    for name, source in TABLES.items():
        places = [place for place in (folder, folder / "tables") if (place / source.file).is_file()]
        if places:
            yield read_table(name, places[0] / source.file)
        else:
            print(f"left out: {name} ({source.file} is missing)", file=sys.stderr)


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


def network(
    problem: Problem, start: Start, activation: str, options: argparse.Namespace
) -> list[Layer]:
    sizes = [problem.X[0].shape[1], *options.hidden, problem.outputs]
    layers: list[Layer] = []
    for inputs, units in itertools.pairwise(sizes):
        last = len(layers) == 2 * len(options.hidden)
        weights, biases = start(inputs, units)
        f = "identity" if last else activation
        layers.append(Dense(units, f, initializer=weights, bias_initializer=biases))
        layers.append(Dropout(options.dropout))
    return layers[:-1]


def score(
    problem: Problem, start: Start, activation: str, seed: int, options: argparse.Namespace
) -> float:
    """Return the accuracy on the test rows, or the root of the mean squared error."""
    model = gpunn.Sequential(
        network(problem, start, activation, options),
        input_shape=problem.X[0].shape[1:],
        backend=gpunn.get_backend("numpy", threads=1),
        seed=seed,
    )
    trainer = gpunn.Trainer(
        model,
        loss="softmax_cross_entropy" if problem.classes else "mean_squared_error",
        optimizer="adamw",
        metrics=["accuracy"] if problem.classes else [],
    )
    trainer.fit(
        problem.X[0],
        problem.y[0],
        epochs=options.epochs,
        batch_size=min(256, max(16, len(problem.y[0]) // 32)),
        validation_data=(problem.X[1], problem.y[1]),
        callbacks=[gpunn.callbacks.EarlyStopping("val_loss", patience=10)],
        progress=False,
    )
    figures = trainer.evaluate(problem.X[2], problem.y[2])
    return figures["accuracy"] if problem.classes else math.sqrt(figures["loss"])


def behind(problem: Problem, scores: dict[str, list[float]], name: str) -> tuple[float, float]:
    """Return how far one start is behind the best other, in the mean, and the standard error."""
    sign = -1 if problem.classes else 1
    means = {each: sign * statistics.mean(values) for each, values in scores.items()}
    best = min((each for each in means if each != name), key=means.__getitem__)
    errors = (
        statistics.stdev(scores[each]) / math.sqrt(len(scores[each])) for each in (name, best)
    )
    return means[name] - means[best], math.hypot(*errors)


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="where the published data are")
    parser.add_argument("--json", type=Path, help="file for every score")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--activations", default=",".join(ACTIVATIONS))
    parser.add_argument("--only", help="data sets, by name, separated by commas")
    parser.add_argument("--hidden", default="256,256", help="units of the hidden layers")
    parser.add_argument("--dropout", type=float, default=0.0, help="after each hidden layer")
    parser.add_argument("--epochs", type=int, default=40, help="at most")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds: expected at least 2, to tell a difference from chance")
    options.hidden = [int(units) for units in options.hidden.split(",")]
    # The one-hot columns of categories that no training row has are constant.
    warnings.simplefilter("ignore", GpunnWarning)
    document = []
    print(line("data", "activation", *STARTS, "gpunn behind the best other"))
    far_behind = dict.fromkeys(STARTS, 0)
    for problem in problems(options.folder):
        if options.only and problem.name not in options.only.split(","):
            continue
        for activation in options.activations.split(","):
            scores = {
                name: [score(problem, start, activation, s, options) for s in range(options.seeds)]
                for name, start in STARTS.items()
            }
            means = [f"{statistics.mean(values):.4f}" for values in scores.values()]
            difference, error = behind(problem, scores, "gpunn")
            print(line(problem.name, activation, *means, f"{difference:+.4f} ± {error:.4f}"))
            for name in STARTS:
                difference, error = behind(problem, scores, name)
                far_behind[name] += difference > 2 * error
            document.append({"data": problem.name, "activation": activation, "scores": scores})
            if options.json:
                options.json.write_text(json.dumps(document, indent=1))
    counts = ", ".join(f"{name} in {count}" for name, count in far_behind.items())
    print(f"Behind the best other by more than two standard errors: {counts} of {len(document)}")


if __name__ == "__main__":
    main()

"""Whatever is learned from data is learned from training rows: wild held-out rows change nothing.

Each case is trained for an epoch, twice: the second time the rows that the first one held out hold
other values. Both networks must be the same file, with the schema, scales, bins and classes in it.
"""

import numpy as np
import pandas as pd
import pytest
from equality import assert_same_bits

from gpunn import Sequential, Trainer
from gpunn.config import parse_config
from gpunn.data.splits import split_rows
from gpunn.experiment.build import build
from gpunn.layers import BatchNorm, Dense, Standardization, TargetScaling

pytestmark = pytest.mark.filterwarnings("ignore::gpunn.errors.UnknownCategoryWarning")

ROWS = 120
FRACTIONS = {"test_fraction": 0.25, "validation_fraction": 0.25}
WILD = 1e4


def people():
    random = np.random.default_rng(0)
    rows = []
    for number in range(ROWS):
        kind = int(random.integers(3))
        row = {
            "age": f"{random.normal(40 + 5 * kind, 9):.3f}",
            "spent": "" if number % 7 == 0 else f"{random.gamma(2, 100):.3f}",
            "city": random.choice(["Oslo", "Rome", "Lima"]),
            "since": f"20{random.integers(10, 25)}-0{random.integers(1, 9)}-11",
            "rent": f"{random.normal(700 + 50 * kind, 90):.2f}",
            "kind": ["a", "b", "c"][kind],
            "number": 3 * kind - 2,
        }
        rows.append({**row, **{f"is_{each}": int(each == kind) for each in range(3)}})
    return rows


CONTENT = people()
TARGETS = ("rent", "kind", "number", "is_0", "is_1", "is_2")


def poisoned(row, number, classes):
    """Return a row with other inputs, and other targets unless these are `classes`."""
    inputs = {
        "age": f"{WILD * (number + 1)}",
        "spent": f"{-WILD * number}" if number % 2 else "",
        "city": f"Atlantis {number % 5}",
        "since": "1901-12-31",
    }
    return {**row, **inputs, **({} if classes else {"rent": f"{-WILD * number}"})}


def write_csv(path, rows, columns):
    pd.DataFrame(rows)[[*columns]].to_csv(path, index=False)


def table(folder, rows, targets, **data):
    write_csv(folder / "people.csv", rows, rows[0].keys())
    drop = [name for name in TARGETS if name not in targets]
    target = targets[0] if len(targets) == 1 else list(targets)
    return {"dataset": "table", "path": "people.csv", "target": target, "drop": drop, **data}


def visits(folder, rows, targets, **data):
    """A table whose rows have a time and a group, which are the same whatever else is poisoned."""
    marked = [
        {**row, "day": (7 * number) % ROWS, "who": f"w{number % 30}"}
        for number, row in enumerate(rows)
    ]
    return table(folder, marked, targets, **data)


def by_time(folder, rows, targets):
    return visits(folder, rows, targets, split="time=day")


def by_group(folder, rows, targets):
    return visits(folder, rows, targets, split="group=who")


def parts_in_files(folder, rows, targets, **data):
    for name, split in (("validation", rows[60:90]), ("test", rows[90:])):
        write_csv(folder / f"{name}.csv", split, rows[0].keys())
    paths = {f"{name}_path": f"{name}.csv" for name in ("validation", "test")}
    return table(folder, rows[:60], targets, **paths, **data)


def numbers_csv(folder, rows, targets):
    write_csv(folder / "numbers.csv", rows, ["age", targets[0]])
    return {"dataset": "csv", "path": "numbers.csv", "target": targets[0], "standardize": True}


def matrices(rows, targets):
    X = np.array([[float(row["age"]), float(row["spent"] or 0)] for row in rows])
    y = np.array([[float(row[name]) for name in targets] for row in rows])
    return X, y[:, 0].astype(np.int64) if targets == ("is_0",) else y


def npz(folder, rows, targets):
    X, y = matrices(rows, targets)
    np.savez(folder / "a.npz", X=X, y=y)
    return {"dataset": "npz", "path": "a.npz", "standardize": True}


def npz_in_parts(folder, rows, targets):
    X, y = matrices(rows, targets)
    arrays = {"X": X[:60], "y": y[:60], "V": X[60:90], "v": y[60:90], "T": X[90:], "t": y[90:]}
    np.savez(folder / "a.npz", **arrays)
    names = {"X_validation": "V", "y_validation": "v", "X_test": "T", "y_test": "t"}
    return {"dataset": "npz", "path": "a.npz", "standardize": True, **names}


def npy(folder, rows, targets):
    X, y = matrices(rows, targets)
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)
    return {"dataset": "npy", "path": "X.npy", "target_path": "y.npy", "standardize": True}


REALMLP = {"name": "realmlp", "parameters": {"hidden_layer_sizes": [8]}}
TABM = {"name": "tabm", "parameters": {"hidden_layer_sizes": [8], "members": 2}}
SCALED = [
    "batch_norm",
    {"name": "dense", "units": 4, "initializer": "unit_variance", "bias_initializer": "hull"},
    {"name": "dense", "units": 1},
    "target_scaling",
]


def dense(units):
    return [{"name": "dense", "units": 6, "activation": "relu"}, {"name": "dense", "units": units}]


SOFTMAX = {"loss": "softmax_cross_entropy", "class_weight": "balanced"}
BINARY = {"loss": "binary_cross_entropy"}
SQUARES = {"loss": "mean_squared_error"}
LABELS = ("is_0", "is_1", "is_2")

CASES = {
    "realmlp of a number": (table, ("rent",), REALMLP, {}),
    "realmlp of classes": (table, ("kind",), REALMLP, {}),
    "realmlp of numbers as classes": (table, ("number",), REALMLP, {}),
    "realmlp of several numbers": (table, ("rent", "number"), REALMLP, {}),
    "realmlp in files": (parts_in_files, ("rent",), REALMLP, {}),
    "realmlp by time": (by_time, ("rent",), REALMLP, {}),
    "realmlp by group": (by_group, ("rent",), REALMLP, {}),
    "layers and classes by group": (by_group, ("kind",), dense(3), SOFTMAX),
    "tabm of a number": (table, ("rent",), TABM, {}),
    "tabm of classes": (table, ("kind",), TABM, {}),
    "tabm in files": (parts_in_files, ("kind",), TABM, {}),
    "realmlp of labels": (table, LABELS, REALMLP, {}),
    "tabm of labels": (table, LABELS, TABM, {}),
    "layers and a number": (table, ("rent",), SCALED, SQUARES),
    "layers and classes": (table, ("kind",), dense(3), SOFTMAX),
    "layers and two classes": (table, ("is_1",), dense(1), BINARY),
    "layers and a softmax of several targets": (table, LABELS, dense(3), SOFTMAX),
    "layers and several labels": (table, LABELS, dense(3), BINARY),
    "csv of a number": (numbers_csv, ("rent",), SCALED, SQUARES),
    "csv of classes": (numbers_csv, ("kind",), dense(3), SOFTMAX),
    "npz of numbers": (npz, ("rent",), SCALED, SQUARES),
    "npz of probabilities": (npz, LABELS, dense(3), SOFTMAX),
    "npz of labels": (npz, LABELS, dense(3), BINARY),
    "npz in splits": (npz_in_parts, ("rent",), SCALED, SQUARES),
    "npy of classes": (npy, ("is_0",), dense(2), SOFTMAX),
}
IN_PARTS = (parts_in_files, npz_in_parts)


@pytest.mark.parametrize("name", CASES)
def test_runs_learn_from_training_rows_alone(tmp_path, name):
    make, targets, network, training = CASES[name]
    fractions = {} if make in IN_PARTS else FRACTIONS
    model = network if isinstance(network, dict) else {"layers": network}

    def train(rows, file):
        raw = {
            "data": {**make(tmp_path, rows, targets), **fractions},
            "model": model,
            "training": {**training, "epochs": 1, "batch_size": 16},
        }
        experiment = build(parse_config(raw, tmp_path), "numpy")
        experiment.run(progress=False)
        experiment.trainer.model.save(tmp_path / file)
        splits = experiment.splits
        return splits, None if make in IN_PARTS else splits.training.indices

    splits, kept = train(CONTENT, "before")
    kept = np.arange(60) if kept is None else kept
    assert 60 <= len(kept) < 70
    assert splits.validation.rows + splits.test.rows + len(kept) == ROWS
    rows = list(CONTENT)
    for number in set(range(ROWS)) - set(kept.tolist()):
        rows[number] = poisoned(rows[number], number, targets[0] != "rent")
    _, again = train(rows, "after")
    if again is not None:
        np.testing.assert_array_equal(kept, again)
    assert (tmp_path / "after").read_bytes() == (tmp_path / "before").read_bytes()


def arrays():
    random = np.random.default_rng(1)
    X = random.normal(3, 2, (ROWS, 3))
    return X, X @ [[1.0], [2], [0]] + 5


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("given", ["split", "rows", "batches"])
def test_fit_learns_from_training_rows_alone(given, weighted):
    X, y = arrays()
    weights = np.linspace(0.5, 2, ROWS) if weighted else None

    def train(X, y):
        layers = [Standardization(), Dense(4), BatchNorm(), Dense(1), TargetScaling()]
        trainer = Trainer(Sequential(layers, 3, "numpy", seed=1), "mean_squared_error", "adam")
        options = {"epochs": 1, "batch_size": 16, "progress": False}
        if given == "split":
            trainer.fit(X, y, validation_split=0.25, sample_weight=weights, **options)
            return trainer.model
        held = (X[90:], y[90:])
        held = [held] if given == "batches" else held
        own = None if weights is None else weights[:90]
        trainer.fit(X[:90], y[:90], sample_weight=own, validation_data=held, **options)
        return trainer.model

    held = split_rows(ROWS, 0.25, 1)[1] if given == "split" else np.arange(90, ROWS)
    before = train(X, y).parameters.to_host()
    X[held], y[held] = WILD, -WILD
    after = train(X, y).parameters.to_host()
    assert_same_bits(before, after)


ESTIMATORS = {
    "RealMLPClassifier": {"hidden_layer_sizes": (8,), "class_weight": "balanced"},
    "RealMLPRegressor": {"hidden_layer_sizes": (8,)},
    "TabMClassifier": {"hidden_layer_sizes": (8,), "members": 2, "temperature_scaling": False},
    "TabMRegressor": {"hidden_layer_sizes": (8,), "members": 2},
}


def held_out_by(monkeypatch, module, name):
    held, divide = [], getattr(module, name)

    def divided(*arguments, **options):
        kept, out = divide(*arguments, **options)
        held.append(out)
        return kept, out

    monkeypatch.setattr(module, name, divided)
    return held


@pytest.mark.parametrize(
    ("name", "weighted"), [*zip(ESTIMATORS, (True, False, False, True), strict=True)]
)
def test_estimators_learn_from_training_rows_alone(monkeypatch, tmp_path, name, weighted):
    sklearn = pytest.importorskip("gpunn.sklearn")
    from gpunn.sklearn import tabular

    held = held_out_by(monkeypatch, tabular, "split")
    classes = "Classifier" in name
    weights = np.linspace(0.5, 2, ROWS) if weighted else None

    def train(rows, file):
        table = {key: [row[key] for row in rows] for key in ("age", "city", "since", "spent")}
        y = [row["kind"] if classes else float(row["rent"]) for row in rows]
        estimator = getattr(sklearn, name)(
            epochs=1, random_state=0, backend="numpy", **ESTIMATORS[name]
        )
        network = estimator.fit(table, y, sample_weight=weights).network_
        network.intervals = network.prediction_sets = None  # of the held-out rows
        network.save(tmp_path / file)

    train(CONTENT, "before")
    rows = list(CONTENT)
    for number in held[0].tolist():
        rows[number] = poisoned(rows[number], number, classes)
    train(rows, "after")
    np.testing.assert_array_equal(*held)
    assert (tmp_path / "after").read_bytes() == (tmp_path / "before").read_bytes()


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_early_stopping_of_estimators_learns_from_training_rows_alone(monkeypatch, name):
    sklearn = pytest.importorskip("gpunn.sklearn")
    from gpunn.sklearn import base

    held = held_out_by(monkeypatch, base, "train_test_split")
    monkeypatch.setattr("warnings.warn", lambda *_, **__: None)  # that one epoch is not enough
    X, y = arrays()
    classes = name == "MLPClassifier"
    y = (y[:, 0] > 12).astype(int) if classes else y[:, 0]
    options = {"class_weight": "balanced"} if classes else {}

    def learned():
        estimator = getattr(sklearn, name)(
            hidden_layer_sizes=4,
            early_stopping=True,
            max_iter=1,
            random_state=0,
            batch_norm=True,
            **options,
        ).fit(X, y)
        return [*estimator.coefs_, *estimator.intercepts_, *estimator.normalization_.values()]

    before = learned()
    X[held[0]] = WILD
    if not classes:
        y[held[0]] = -WILD
    for old, new in zip(before, learned(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(*held)

"""Splits by time and by groups: `--split`, `data.split`, and what is said of random ones."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_folders import evaluation

from gpunn.config import load_config, parse_config
from gpunn.errors import ConfigError, DataError
from gpunn.experiment.build import build
from gpunn.experiment.data import load

pytestmark = pytest.mark.filterwarnings("ignore::gpunn.errors.UnknownCategoryWarning")

ROWS = 240
FAST = ["--set=model.parameters.hidden_layer_sizes=[8]", "--set=training.epochs=2"]
FRACTIONS = {"test_fraction": 0.2, "validation_fraction": 0.25}


def visits():
    random = np.random.default_rng(1)
    patients = random.integers(0, 40, ROWS)
    return [
        {
            "patient_id": f"P{patient:02}",
            "seen": f"2026-{1 + day // 28:02}-{1 + day % 28:02}",
            "weight": f"{60 + patient / 4 + random.normal():.2f}",
            "kind": "ab"[number % 2],
            "ill": "yes" if patient % 3 == 0 else "no",
        }
        for number, (patient, day) in enumerate(
            zip(patients.tolist(), random.integers(0, 60, ROWS).tolist(), strict=True)
        )
    ]


VISITS = visits()


def write(path, rows=VISITS):
    pd.DataFrame(rows).to_csv(path, index=False)


@pytest.fixture(autouse=True)
def table():
    write("visits.csv")


def raw_of(units=2, loss="softmax_cross_entropy", **data):
    columns = {"dataset": "table", "path": "visits.csv", "target": "ill"}
    model = {"layers": [{"name": "dense", "units": units}]}
    data = {**({} if "dataset" in data else columns), **FRACTIONS, **data}
    return {"data": data, "model": model, "training": {"loss": loss, "epochs": 1}}


def config(**data):
    return parse_config(raw_of(**data), Path())


def rows_of(experiment):
    splits = experiment.splits
    return [splits.training.indices, splits.validation.indices, splits.test.indices]


def inputs_of(experiment):
    columns = experiment.trainer.model.schema.columns
    return [column.name for column in columns if not column.dropped]


def column(name, indices):
    return {VISITS[index][name] for index in indices}


def test_by_time():
    experiment = build(config(split="time=seen"), "numpy")
    found = rows_of(experiment)
    assert np.concatenate(found).tolist() != sorted(np.concatenate(found).tolist())
    assert sorted(np.concatenate(found).tolist()) == list(range(ROWS))
    days = [column("seen", indices) for indices in found]
    assert max(days[0]) < min(days[1]) <= max(days[1]) < min(days[2])
    assert np.abs(np.array([*map(len, found)]) - [144, 48, 48]).max() <= 4
    assert "seen" in inputs_of(experiment)


def test_by_groups():
    experiment = build(config(split="group=patient_id"), "numpy")
    found = rows_of(experiment)
    assert sorted(np.concatenate(found).tolist()) == list(range(ROWS))
    training, validation, test = (column("patient_id", indices) for indices in found)
    assert not training & (validation | test)
    assert not validation & test
    assert [*map(len, found)] == [144, 48, 48]
    shares = [np.mean([VISITS[index]["ill"] == "yes" for index in split]) for split in found]
    assert max(shares) - min(shares) < 0.08
    assert inputs_of(experiment) == ["seen", "weight", "kind"]
    other = build(config(split="group=patient_id", split_seed=1), "numpy")
    assert column("patient_id", rows_of(other)[2]) != test
    as_input = build(config(split="group=patient_id", columns={"patient_id": "category"}), "numpy")
    assert [each.tolist() for each in rows_of(as_input)] == [each.tolist() for each in found]
    assert "patient_id" in inputs_of(as_input)


@pytest.mark.parametrize("dataset", ["csv", "csv without names", "npz"])
@pytest.mark.parametrize("kind", ["time", "group"])
def test_numbers_in_files(dataset, kind, gpunn):
    name = {"time": "seen", "group": "patient_id"}[kind]
    expected = [each.tolist() for each in rows_of(build(config(split=f"{kind}={name}"), "numpy"))]
    rows = [{"weight": row["weight"], "ill": row["ill"], name: row[name]} for row in VISITS]
    data = {"split": f"{kind}={name}"}
    if dataset == "npz":
        X, y = ([float(row["weight"])] for row in rows), [row["ill"] for row in rows]
        np.savez("visits.npz", X=[*X], y=y, **{name: [row[name] for row in rows]})
        data |= {"dataset": "npz", "path": "visits.npz"}
    else:
        write("numbers.csv", rows)
        data |= {"dataset": "csv", "path": "numbers.csv", "target": "ill"}
        if dataset == "csv without names":
            text = Path("numbers.csv").read_text()
            Path("numbers.csv").write_text(text.partition("\n")[2])
            data |= {"header": False, "target": 1, "split": f"{kind}=2"}
    raw = raw_of(**data)
    experiment = build(parse_config(raw, Path()), "numpy")
    assert experiment.trainer.model.input_shape == (1,)
    assert [each.tolist() for each in rows_of(experiment)] == expected
    Path("a.json").write_text(json.dumps(raw))
    said = gpunn("train", "a.json", "--output", "run").stdout
    assert f"\nsplit by {kind}: " in said
    assert "is not an input\n" in said
    again = json.loads(gpunn("evaluate", "run", "--json").stdout)
    assert evaluation(Path("run"))["test"].items() <= again.items()
    np.save("new.npy", np.array([[61.5]], np.float32))
    assert len(gpunn("predict", "run", "new.npy").stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"split": "group=g"}, "visits.npz: has no array 'g'"),
        ({"split": "group=y"}, "data.split: column 'y' is the target"),
        ({"split": "group=X"}, r"array 'X' for the split: expected shape \(4,\), one value per"),
        (
            {"split": "time=t", "test_fraction": 0.0},
            "data.split: no rows are held out; set 'validation_fraction' or 'test_fraction'",
        ),
        ({"dataset": "csv", "path": "a.csv", "target": -1, "split": "time=b"}, "is the target"),
        ({"dataset": "csv", "path": "a.csv", "target": -1, "split": "time=c"}, "no column 'c'"),
        (
            {"dataset": "csv", "path": "a.csv", "target": -9, "split": "time=a"},
            "target: .*a.csv has",
        ),
    ],
)
def test_splits_of_numbers_that_cannot_be(data, problem):
    np.savez("visits.npz", X=np.eye(4), y=np.arange(4.0), t=np.arange(4))
    write("a.csv", [{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    fractions = {"test_fraction": 0.5, "validation_fraction": 0.0}
    data = {"dataset": "npz", "path": "visits.npz", **fractions, **data}
    with pytest.raises((ConfigError, DataError), match=problem):
        build(config(units=1, loss="mean_squared_error", **data), "numpy")


def test_rows_are_drawn_as_before_unless_a_split_is_named():
    random = [each.tolist() for each in rows_of(build(config(split="random"), "numpy"))]
    assert random == [each.tolist() for each in rows_of(build(config(), "numpy"))]
    assert random[1][:8] == [3, 11, 15, 16, 17, 18, 22, 23]
    assert random[2][:8] == [8, 9, 12, 21, 30, 40, 45, 48]


def test_parts_in_files_of_their_own_stay_what_they_are():
    write("later.csv", VISITS[:20])
    described = config(split="group=patient_id", test_fraction=0, test_path="later.csv")
    experiment = build(described, "numpy")
    splits = experiment.splits
    with pytest.warns(DeprecationWarning, match=r"Experiment\.parts is now called splits"):
        assert experiment.parts is splits
    assert splits.test.rows == 20
    assert splits.test.indices is None
    training = column("patient_id", splits.training.indices)
    assert not training & column("patient_id", splits.validation.indices)


@pytest.mark.parametrize(
    ("split", "changes", "said"),
    [
        ("group=patient_id", {}, "in 20 rows, column 'patient_id' has a group that also"),
        ("group=patient_id", {"patient_id": "new"}, None),
        ("group=patient_id", {"patient_id": ""}, None),
        ("time=seen", {}, "in 20 rows, column 'seen' is not later than the latest row"),
        ("time=seen", {"seen": "2027-01-01"}, None),
        ("time=seen", {"seen": "soon"}, None),
        ("random", {}, None),
        (None, {}, None),
    ],
)
def test_parts_in_files_that_overlap(caplog, split, changes, said):
    write("later.csv", [row | changes for row in VISITS[:20]])
    drop = ["seen"] if "seen" in changes else []  # of another kind, it would be refused as an input
    build(config(split=split, test_fraction=0, test_path="later.csv", drop=drop), "numpy")
    assert ("data.test_path" in caplog.text) == (said is not None)
    assert said is None or f"data.test_path: {said}" in caplog.text


@pytest.mark.parametrize(
    ("changes", "split", "problem"),
    [
        ({}, "seen", 'data.split: expected "time=COLUMN", "group=COLUMN" or "random"'),
        ({}, "group=ill", "data.split: column 'ill' is the target"),
        ({}, "group=patient", "data.split: .* has no column 'patient'; did you mean 'pati"),
        ({"seen": ""}, "time=seen", "line 2, column 'seen': the time is missing here, and in 239"),
        ({"seen": "2026-01-01"}, "time=seen", "data.split = 'time=seen': all rows have the same"),
        ({"patient_id": ""}, "group=patient_id", "line 2, column 'patient_id': the group is miss"),
        ({"patient_id": "P1"}, "group=patient_id", "'group=patient_id': all rows belong to one"),
    ],
)
def test_splits_that_cannot_be(changes, split, problem):
    write("visits.csv", [row | changes for row in VISITS])
    with pytest.raises((ConfigError, DataError), match=problem):
        build(config(split=split), "numpy")


def test_what_is_said_of_a_split(caplog):
    late = [row | {"ill": "yes" if row["seen"] >= "2026-03" else "no"} for row in VISITS]
    write("visits.csv", late)
    build(config(split="time=seen"), "numpy")
    assert (
        "data.split: the network cannot learn classes without training rows: 'yes'; all rows"
        in caplog.text
    )
    caplog.clear()
    two = [row | {"patient_id": f"P{number % 2}"} for number, row in enumerate(VISITS)]
    write("visits.csv", two)
    build(config(split="group=patient_id", validation_fraction=0), "numpy")
    assert "data.test_fraction: 50% of the rows are held out, not 20%" in caplog.text
    caplog.clear()
    write("visits.csv")
    for split in ("random", "time=seen", "group=patient_id"):
        build(config(split=split), "numpy")
    build(config(test_fraction=0, validation_fraction=0), "numpy")
    assert "--split" not in caplog.text
    build(config(), "numpy")
    assert "--split time=seen" in caplog.text
    assert "--split group=patient_id" in caplog.text


@pytest.mark.parametrize("split", ["time=seen", "group=patient_id"])
def test_a_run_keeps_its_split(gpunn, split):
    trained = gpunn("train", "visits.csv", "--target=ill", f"--split={split}", *FAST).stdout
    kind, name = split.split("=")
    assert f"\nsplit by {kind}: " in trained
    assert f"{name!r} is {'an input' if kind == 'time' else 'not an input'}" in trained
    run = Path("runs/visits")
    described = load_config(run / "config.json")
    assert described.data.split == split
    splits = load(described).split(described.data, None)
    assert splits.test.rows == evaluation(run)["test"]["rows"]
    again = json.loads(gpunn("evaluate", run, "--json").stdout)
    assert evaluation(run)["test"].items() <= again.items()
    gpunn("train", run, "--resume", "--set=training.epochs=3")
    refused = gpunn("train", run, "--resume", "--set=data.split=random", status=2).stderr
    assert f"data.split: the run in {run} has {split!r} and cannot resume" in refused
    # Predicting takes rows without the column of groups.
    inputs = ["seen", "weight", "kind"] if kind == "group" else [*VISITS[0]]
    write("new.csv", [{name: row[name] for name in inputs} for row in VISITS[:5]])
    assert len(gpunn("predict", run, "new.csv").stdout.splitlines()) == 6
    assert len(gpunn("predict", run, "visits.csv").stdout.splitlines()) == ROWS + 1


def test_inspect_says_that_a_random_split_may_leak(gpunn):
    said = gpunn("inspect", "visits.csv", "--target=ill").stdout
    assert "use --split time=seen" in said
    assert "use --split group=patient_id" in said
    for split in ("random", "time=seen"):
        assert "Nothing looks wrong." in gpunn("inspect", "visits.csv", f"--split={split}").stdout
    said = gpunn("inspect", "visits.csv", "--split=group=patient_id").stdout
    assert "patient_id            left out" in said
    for split, problem in (
        ("time=kind", "expected a date"),
        ("group=patient", "there is no column 'patient'; did you mean"),
        ("by time", 'split: expected "time=COLUMN"'),
    ):
        assert problem in gpunn("inspect", "visits.csv", f"--split={split}", status=2).stderr
    refused = gpunn("inspect", "visits.csv", "--target=ill", "--split=group=ill", status=2).stderr
    assert "split: column 'ill' is the target" in refused

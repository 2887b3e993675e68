"""Tables with text, dates and gaps through the commands, without a configuration."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from gpunn import load_model
from gpunn.cli import main

FAST = [
    "--set=model.parameters.hidden_layer_sizes=[16]",
    "--set=training.epochs=6",
    "--set=training.batch_size=32",
]

CITIES = ["Bern", "Oslo", "Rome"]


def people(rows: int = 120) -> list[dict[str, object]]:
    random = np.random.default_rng(0)
    found = []
    for row in range(rows):
        city, age = int(random.integers(3)), int(random.integers(18, 80))
        found.append(
            {
                "id": f"user{row}",
                "age": "?" if row % 10 == 1 else age,
                "city": "" if row % 12 == 1 else CITIES[city],
                "since": f"{2015 + row % 7}-{1 + row % 12:02}-15",
                "member": row % 2 == 0,
                "left": "yes" if age > 50 else "no",
                "stays": age <= 50,
                "grade": city + 4,
                "rent": f"{500 + 100 * city + 3 * age}.5",
                "spent": age * 2.25,
            }
        )
    return found


def write(path: Path, rows: list[dict[str, object]], delimiter: str = ",") -> Path:
    pd.DataFrame(rows).to_csv(path, sep=delimiter, index=False)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "people.csv", people())


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    write(folder / "people.csv", people())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GPUNN_BACKEND", "numpy")
        drop = [f"--drop={name}" for name in ("stays", "rent", "spent", "grade")]
        arguments = ["train", "people.csv", "--target", "left", *drop, *FAST, "--output", "run"]
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "target: left (2 classes)" in result.stdout
    assert "rows: 76 training, 20 validation, 24 test" in result.stdout
    return folder / "run"


def predictions(text: str) -> list[list[str]]:
    return list(csv.reader(text.splitlines()))


@pytest.mark.parametrize(
    ("targets", "kind", "classes"),
    [
        (["left"], "2 classes", ["no", "yes"]),
        (["stays"], "2 classes", ["False", "True"]),
        (["grade"], "3 classes", ["4", "5", "6"]),
        (["rent"], "numbers", None),
        (["rent", "spent"], "numbers", None),
    ],
)
def test_targets_of_each_kind(gpunn, table, tmp_path, targets, kind, classes):
    arguments = [f"--target={name}" for name in targets]
    result = gpunn("train", table, *arguments, *FAST, "--output", "run")
    assert f"target: {', '.join(targets)} ({kind})" in result.stdout
    header, *rows = predictions(gpunn("predict", "run", table).stdout)
    names = [f"prediction_{name}" for name in targets] if len(targets) > 1 else ["prediction"]
    assert header == names
    assert len(rows) == 120
    if classes is not None:
        assert {row[0] for row in rows} <= set(classes)
    elif targets == ["rent"]:
        assert all(400 < float(row[0]) < 1000 for row in rows)
    gpunn("evaluate", "run", table)


def parquet(path: Path, rows: list[dict[str, object]]) -> None:
    pytest.importorskip("pyarrow")
    pd.read_csv(write(path.with_suffix(".csv"), rows)).to_parquet(path)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a.tsv", lambda path, rows: write(path, rows, "\t")),
        ("a.csv.gz", lambda path, rows: write(path, rows, ";")),
        ("a.parquet", parquet),
    ],
)
def test_other_files(gpunn, tmp_path, name, written):
    written(tmp_path / name, people())
    gpunn("train", name, "--target", "left", *FAST)
    gpunn("evaluate", "runs/a", name)


def test_a_table_is_read_as_inspect_reads_it(gpunn, tmp_path):
    rows = [
        {
            "area.code": 1 + number % 3,
            "cost": f"{number},5" if number % 9 else "-999",
            "y": number % 2,
        }
        for number in range(60)
    ]
    write(tmp_path / "a.csv", rows, delimiter=":")
    options = ["--target=y", "--column=area.code=category", "--missing=-999", "--delimiter=:"]
    options.append("--decimal=,")
    said = gpunn("inspect", "a.csv", *options).stdout
    assert "cost       number    number, missing or not  7" in said
    assert "area.code  category  3 categories" in said
    gpunn("train", "a.csv", *options, *FAST)
    columns = load_model(tmp_path / "runs" / "a").schema.columns
    assert [column.kind for column in columns] == ["category", "number", "number"]
    assert columns[0].categories == ("1", "2", "3")
    assert columns[1].missing > 0
    data = json.loads((tmp_path / "runs" / "a" / "config.json").read_text())["data"]
    assert data["columns"] == {"area.code": "category"}
    assert "(12 rows)\n" in gpunn("evaluate", "runs/a").stdout
    gpunn("train", "runs/a", "--output", "again")


def test_a_table_without_names(gpunn, tmp_path):
    named = write(
        tmp_path / "people.csv", [{"x": row["age"], "y": row["left"]} for row in people()]
    )
    path = tmp_path / "rows.csv"
    path.write_text(named.read_text().partition("\n")[2])
    first = path.read_text().partition(",")[0]
    assert (
        f"{first}: this name is a number; if the first row has no" in gpunn("inspect", path).output
    )
    result = gpunn("inspect", path, "--target", "1", "--no-header")
    assert "120 rows, 2 columns" in result.stdout
    assert "this name is a number" not in result.stdout
    gpunn("train", path, "--target", "1", "--no-header", "--output", tmp_path / "run", *FAST)
    result = gpunn("predict", tmp_path / "run", path)
    assert len(predictions(result.stdout)) == 121


def test_inspect_spells_whole_numbers(gpunn, tmp_path):
    incomes = [1_234_567, 2_345_678.5, 35_000_001, 1e12]
    path = write(tmp_path / "incomes.csv", [{"income": income} for income in incomes])
    assert "1234567 to 1e+12, median 2.34568e+06" in gpunn("inspect", path).stdout
    path = write(tmp_path / "far.csv", [{"x": row} for row in [*range(9), 1e300]])
    assert "1e+300 (line 11), is 2.22222e+299 interq" in gpunn("inspect", path).stdout


def test_inspect_takes_several_targets(gpunn, table):
    targets = ["--target", "rent", "--target", "grade", "--target", "city"]
    result = gpunn("inspect", table, *targets)
    assert "Target 'rent': numbers, 5" in result.stdout
    assert "Target 'grade': numbers, 4 to 6, median 5" in result.stdout
    assert (
        "city: with several targets, each must hold numbers, or labels 0 and 1; this target is "
        "text" in result.stdout
    )
    assert "4 categories" not in result.stdout
    for name in ("rent", "grade", "city"):
        assert f"{name:<6}            target" in result.stdout


def test_a_target_whose_marks_may_separate_thousands(gpunn, tmp_path, caplog):
    rows = [{"age": row % 50, "spent": f"{1000 + 7 * row:,}"} for row in range(60)]
    path = write(tmp_path / "spent.csv", rows, ";")
    doubt = "'1,000' was read as 1; if its comma separates thousands, remove such separators"
    assert f"spent: {doubt}" in gpunn("inspect", path, "--target", "spent").output
    gpunn("train", path, "--target", "spent", "--output", tmp_path / "run", *FAST)
    assert f"target spent: {doubt}" in caplog.text


def test_a_run_is_resumed_as_if_it_had_not_ended(gpunn, table, tmp_path):
    arguments = ["train", table, "--target=left", *FAST, "--set", "training.checkpoint_every=1"]
    gpunn(*arguments, "--output", "run")
    run = tmp_path / "run"
    before = [(run / name).read_bytes() for name in ("final.safetensors", "config.json")]
    later = sorted((run / "checkpoints").iterdir())[1:]
    assert later
    for file in later:
        file.unlink()
    assert "resuming after epoch" in gpunn("train", "run", "--resume").stdout
    assert [(run / name).read_bytes() for name in ("final.safetensors", "config.json")] == before


def test_the_schema_is_that_of_the_training_rows(gpunn, tmp_path):
    rows = people()
    write(tmp_path / "a.csv", rows)
    write(tmp_path / "b.csv", [{**row, "city": "Paris"} for row in rows[:20]])
    result = gpunn("train", "a.csv", "--target=left", *FAST, "--set", "data.test_path=b.csv")
    assert "96 training, 24 validation, 20 test" in result.stdout
    assert "column 'city': 20 rows with 'Paris'" in result.stderr


@pytest.mark.parametrize("seed", range(3))
def test_kinds_are_what_inspect_says_however_the_rows_are_divided(gpunn, tmp_path, caplog, seed):
    rows = [{**row, "spent": "oops" if row["id"] == "user7" else row["spent"]} for row in people()]
    write(tmp_path / "a.csv", rows)
    remark = "numbers and text: 54 of 55 values are numbers, but 'oops' (line 9) is not: "
    remark += "correct these cells, leave them empty, declare them missing values "
    remark += "(missing_values, --missing), or choose --column NAME=category"
    assert remark in gpunn("inspect", "a.csv", "--target=left").stdout
    gpunn("train", "a.csv", "--target=left", *FAST, "--set", f"data.split_seed={seed}")
    (warning,) = [message for message in caplog.messages if "column spent" in message]
    assert warning.endswith(remark)


LAYERS = """\
[data]
dataset = "table"
path = "people.csv"
target = "left"
drop = ["id", "stays", "rent", "spent"]
columns = { grade = "category" }
scaling = "standard"

[model]
layers = [
    { name = "column_groups", groups = [
        { columns = [0, 7] },
        { columns = [7, 10], layers = [{ name = "one_hot", sizes = [4, 3, 4] }] },
    ] },
    { name = "dense", units = 1 },
]

[training]
loss = "binary_cross_entropy"
epochs = 2
"""


def test_layers_of_ones_own(gpunn, table, tmp_path):
    (tmp_path / "a.toml").write_text(LAYERS)
    gpunn("train", "a.toml")
    header, *rows = predictions(gpunn("predict", "runs/a", table, "--probabilities").stdout)
    assert header == ["prediction", "probability_no", "probability_yes"]
    assert len(rows) == 120


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "people.csv is a table; name the column to predict with --target"),
        ("--target=lefft", "people.csv: there is no target column 'lefft'; did you mean 'left'?"),
        ("--target=left --drop=agge", "data.drop: there is no column 'agge'; did you mean"),
        ("--target=left --column=city", "--column: expected NAME=KIND"),
        ("--target=left --model=tabn", "model.name: there is no model 'tabn'; did you mean 'tabm'"),
        ("--target=id", "the target 'id' has a different class in every row, such as 'user0'"),
        ("--target=since", "the target 'since' contains dates or times; choose a column"),
        ("--target=city", "line 3, column 'city': the target is missing here, and in 9 other"),
        ("--target=left --target=rent", "line 2, column 'left': the target must be a num"),
        ("--target=rent --target=left", "or train a separate network for this target, because"),
        (
            "--target=left --set=training.loss=huber",
            "line 2, column 'left': the target must be a number, because of the loss 'huber'; got",
        ),
        ("--target=left --set=data.columns.city=number", "line 2, column 'city': expected"),
        ("--target=left --column=left=number", "columns.left: this column is the target"),
        ("--target=left --set=data.columns.town=number", "data.columns: there is no column"),
        ("--target=left --set=data.decimal=;", "data.decimal: expected"),
        ("--target=left --set=model.parameters.epochs=0", "model.parameters.epochs: expected"),
        (
            "--target=left --set=training.loss=binary_cross_entropy",
            "do not fit 'binary_cross_entropy'; choose 'softmax_cross_entropy'",
        ),
        ("--target=left --set=data.validation_fraction=0", "set data.validation_fraction"),
    ],
)
def test_what_can_not_be_trained(gpunn, table, tmp_path, arguments, message):
    assert message in gpunn("train", "people.csv", *arguments.split(), status=2).stderr
    assert not (tmp_path / "runs").exists()


def test_what_is_for_tables_alone(gpunn, digits, tmp_path):
    assert "--target: " in gpunn("train", tmp_path, "--target=a", status=2).stderr
    for arguments, message in (
        (["--target=a"], "--target: "),
        (["--drop=a"], "--drop: needs a table with --target"),
        (["--model=tabm"], "--model: needs a table with --target"),
        (["--column=a=number"], "--column: needs a table with --target"),
        (["--missing=-"], "--missing: needs a table with --target"),
        (["--split=time=seen"], "--split: needs a table with --target"),
        (["--set=model={name='tabm'}"], "is a tabular model; set data.dataset"),
    ):
        assert message in gpunn("train", digits, *arguments, status=2).stderr


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (range(20), "the target 'z' is '2' in every row"),
        (["a", "a", "a", "a"], "the target 'y' is 'a' in every row, so there is nothing to learn"),
        (["1.5", "1.5", "1.50"], "the target 'y' is '1.5' in every row, so there is nothing to"),
        (["a" * 300, "b", "a", "b"], "line 2, column 'y': expected a class name"),
        (["a", "a", "a", "b"], "data.test_fraction: the class 'b' has only one row"),
        ([*map(str, range(30)), "12a"], "line 32, column 'y': the target must be a number, as"),
    ],
)
def test_targets_that_tell_nothing(gpunn, tmp_path, cells, message):
    rows = [{"x": row % 5, "y": cell, "z": 2} for row, cell in enumerate(cells)]
    write(tmp_path / "a.csv", rows)
    targets = ["--target=y", "--target=z"] if "'z'" in message else ["--target=y"]
    assert message in gpunn("train", "a.csv", *targets, status=2).stderr


@pytest.mark.filterwarnings("default::gpunn.errors.GpunnWarning")
def test_rows_as_they_are(gpunn, run, tmp_path):
    new = [
        {"since": "2016-02-15", "age": 70, "member": "yes", "city": "Paris", "more": "x"},
        {"since": "", "age": "", "member": "false", "city": "", "more": "x"},
    ]
    write(tmp_path / "new.csv", new)
    result = gpunn("predict", run, "new.csv", "--probabilities")
    said = "new.csv: column 'since': 1 row has a missing value, but no training row had one"
    assert said in result.stderr
    said = "new.csv: column 'city': 1 row has a category or unit unseen in training"
    assert said in result.stderr
    assert "which counts as missing: 'Paris'" in result.stderr
    header, *rows = predictions(result.stdout)
    assert header == ["prediction", "probability_no", "probability_yes"]
    for row in rows:
        assert row[0] == ("no" if float(row[1]) > float(row[2]) else "yes")


def test_the_target_may_be_there_or_not(gpunn, run, tmp_path):
    rows = people(5)
    write(tmp_path / "with.csv", rows)
    write(tmp_path / "without.csv", [{**row, "left": ""} for row in rows])
    first = gpunn("predict", run, "with.csv").stdout
    assert gpunn("predict", run, "--input", "without.csv").stdout == first
    gpunn("predict", run, "with.csv", "--output", "out.npy", "--probabilities")
    assert np.load("out.npy").shape == (5, 2)


NOT_PREDICTED = "predict", "evaluate"
NOT_EVALUATED = ("evaluate",)


@pytest.mark.parametrize(
    ("change", "message", "refused"),
    [
        ({"age": "old"}, "line 2, column 'age': expected a number; got 'old'", NOT_PREDICTED),
        (
            {"city": None, "City": "Rome"},
            "the column 'city' (did you mean 'City'?) is missing",
            NOT_PREDICTED,
        ),
        ({"left": "maybe"}, "line 2, column 'left': 'maybe' is not a class of", NOT_EVALUATED),
        ({"left": ""}, "line 2, column 'left': the target is missing", NOT_EVALUATED),
        ({"left": None}, "there is no target column 'left'", NOT_EVALUATED),
    ],
)
def test_rows_that_do_not_fit(gpunn, run, tmp_path, change, message, refused):
    row = {key: value for key, value in {**people(1)[0], **change}.items() if value is not None}
    write(tmp_path / "new.csv", [row])
    for command in ("predict", "evaluate"):
        said = gpunn(command, run, "new.csv", status=2 if command in refused else 0).stderr
        assert (said.startswith("Error: new.csv: ") and message in said) == (command in refused)


def test_usage(gpunn, run):
    twice = gpunn("predict", run, "a.csv", "--input", "b.csv", status=2).stderr
    assert "--input: cannot be combined with INPUT" in twice
    refused = gpunn("evaluate", run, "a.csv", "--target-path", "b.npy", status=2).stderr
    assert "b.npy: the targets of a table are among its columns" in refused


def test_the_report_shows_columns_and_categories(gpunn, run, tmp_path):
    gpunn("report", run)
    page = (tmp_path / "report.html").read_text()
    assert "Which columns matter" in page
    assert "Errors by city" in page
    assert "Errors by member" in page
    assert "missing or unknown" in page
    assert "Wrong predictions: " in page
    assert ", the most confident first (lines of people.csv)." in page

import random
from pathlib import Path

import pytest

TABLE = """\
id;age;city;since;zip
a1;31,5;Oslo;2024-01-31;007
b2;?;Rome;2025-06-01;008
c3;28;Oslo;;007
d4;-1;;2025-07-01;1000
"""


@pytest.fixture(autouse=True)
def table(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)


def test_what_is_in_a_table(gpunn):
    result = gpunn(
        *("inspect", "table.csv", "--target", "city", "--drop", "id"),
        *("--column", "zip=category", "--missing", "-1"),
    )
    assert result.stdout == (
        "table.csv: 4 rows, 5 columns\n"
        "\n"
        "column  kind      becomes                                        missing  values\n"
        "id                left out\n"
        "age     number    number, missing or not                         2        "
        "28 to 31.5, median 28\n"
        "city              target\n"
        "since   datetime  year, month, day, day of week, missing or not  1        "
        "2024-01-31 00:00:00 to 2025-07-01 00:00:00\n"
        "zip     category  3 categories                                            "
        "'007' 50 %, '008' 25 %, '1000' 25 %\n"
        "\n"
        "A row becomes 11 numbers and 1 category.\n"
        "Target 'city': 2 classes: 'Oslo' (2 rows), 'Rome' (1 row)\n"
        "\n"
        "What looks wrong:\n"
        "  city: the target has no value in 1 row, first in line 5: fill in each missing target, "
        "or remove its row\n"
        "  city: 2 classes of the target have fewer than 10 rows; 'Rome' has only 1 row. The "
        "network hardly learns such a class, and the test split has few or no rows of it. "
        "Collect more rows of the class, merge it with a similar class, or remove its rows\n"
    )


@pytest.mark.parametrize(
    ("cells", "options", "expected"),
    [
        ([f"{n:03}" for n in range(41)], (), "Target 't': numbers, 0 to 40, median 20"),
        (["07", "7.5", "08"], (), "Target 't': numbers, 7 to 8, median 7.5"),
        (["07", "12", "07"], (), "Target 't': 2 classes: '07' (2 rows), '12' (1 row)"),
        (["'=a", "=a", "b"], (), "Target 't': 2 classes: '=a' (2 rows), 'b' (1 row)"),
        (["07", "12"], ("--target", "n"), "Target 't': numbers, 7 to 12, median 7"),
        (["00", "01", "01"], ("--target", "n"), "Target 't': label; yes in 2 of 3 rows"),
        (["1", "1"], (), "t: the target is the same in every row, so there is nothing to learn"),
    ],
)
def test_a_target_of_codes_is_what_training_takes_it_for(gpunn, cells, options, expected):
    rows = "".join(f"{cell},{n},{n}.5\n" for n, cell in enumerate(cells))
    Path("codes.csv").write_text(f"t,n,x\n{rows}")
    result = gpunn("inspect", "codes.csv", "--target", "t", *options)
    assert f"{expected}\n" in result.stdout
    assert "with several targets" not in result.stdout


def test_what_can_not_be_told_by_the_cells(gpunn):
    """A column without a name, and codes that differ only beyond the precision of numbers."""
    codes = [9007199254740992, 9007199254740993, 9007199254740992]
    lines = [f"{number},{code},{number}.5" for number, code in enumerate(codes)]
    Path("saved.csv").write_text("\n".join([",code,x", *lines]))
    result = gpunn("inspect", "saved.csv")
    assert result.stdout.endswith(
        "What looks wrong:\n"
        "  Unnamed: 0: has no name: drop the column if it is a saved index, otherwise name it\n"
        "  code: dropped: all numbers are equal, maybe only because large numbers are rounded; "
        "if the column contains codes, make it a category\n"
    )
    result = gpunn("inspect", "saved.csv", "--column=code=category", "--drop=Unnamed: 0")
    assert "code        category  2 categories" in result.stdout
    assert "Nothing looks wrong" in result.stdout


def test_a_column_without_values(gpunn):
    Path("empty.csv").write_text("a,b\n,2\n,3\n")
    assert gpunn("inspect", "empty.csv").stdout == (
        "empty.csv: 2 rows, 2 columns\n"
        "\n"
        "column  kind    becomes  missing  values\n"
        "a       number  dropped  2\n"
        "b       number  number            2 to 3, median 2\n"
        "\n"
        "A row becomes 1 number and 0 categories.\n"
        "\n"
        "What looks wrong:\n"
        "  a: dropped: no row has a value\n"
    )


def test_numbers_far_from_all_others(gpunn):
    cells = "".join(f"{number}\n" for number in [*range(20, 60), 999, -500])
    Path("ages.csv").write_text("age\n" + cells)
    advice = (
        "Scaling limits the influence of such a number. If it is wrong, correct the cell, or use"
    )
    assert gpunn("inspect", "ages.csv").stdout.endswith(
        "What looks wrong:\n"
        "  age: the smallest, -500 (line 43), is 26 interquartile ranges from the median. "
        f"{advice} --missing -500\n"
        "  age: the largest, 999 (line 42), is 47 interquartile ranges from the median. "
        f"{advice} --missing 999\n"
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["none.csv"], "none.csv: there is no such file"),
        (["table.csv", "--target", "ctiy"], "there is no column 'ctiy'; did you mean 'city'?"),
        (["table.csv", "--drop", "x"], "drop: there is no column 'x'"),
        (["table.csv", "--target", "city", "--drop", "city"], "drop: column 'city' is the target"),
        (["table.csv", "--target", "zip", "--column", "zip=number"], "columns.zip: column 'zip'"),
        (["table.csv", "--decimal", ";"], "--decimal"),
    ],
)
def test_what_can_not_be_inspected(gpunn, arguments, problem):
    assert problem in gpunn("inspect", *arguments, status=2).stderr


def test_wide_letters_take_two_columns_of_a_terminal(gpunn):
    Path("wide.csv").write_text("年龄,city,i\n31,Oslo,1\n28,Rome,2\n28,Rome,3\n", encoding="utf-8")
    lines = gpunn("inspect", "wide.csv").stdout.splitlines()
    starts = ("column  kind", "年龄    number", "city    category", "i       number")
    assert all(map(str.startswith, lines[2:6], starts)), lines


@pytest.mark.parametrize("largest", ["1e308", "1.7e308", "3.5e38"])
@pytest.mark.parametrize("others", [(1, -1), (1e308, -1e308), (1e-300, 2e-300)])
def test_numbers_near_the_largest_one(gpunn, largest, others):
    """Neither a warning of NumPy nor an error."""
    rows = [f"{others[row % 2]}" for row in range(40)]
    Path("a.csv").write_text("\n".join(["x", largest, *rows, f"-{largest}"]) + "\n")
    assert f"to {max(float(largest), *others):g}" in gpunn("inspect", "a.csv").stdout


def test_training_repeats_each_finding_once(gpunn, caplog):
    draw = random.Random(0)
    rows = [(draw.randrange(50), draw.choice(["yes", "no"])) for _ in range(200)]
    lines = [f"{age},{'paid' * (left == 'yes')},{left}" for age, left in rows]
    Path("people.csv").write_text("\n".join(["age,fee,left", *lines]))
    training = ["--set=training.epochs=1", "--set=training.batch_size=64", "--output=run"]
    gpunn("train", "people.csv", "--target=left", *training)
    (found,) = [each for each in caplog.messages if "the column alone" in each]
    remedy = "Unless the column is known before the target, use --drop fee"
    what = f"fee: the column alone predicts 100 % of 100 rows correctly. {remedy}"
    assert found == f"{Path('people.csv').absolute()}: {what}"
    caplog.clear()
    gpunn("train", "run", "--resume", "--set=training.epochs=2")
    assert not any("the column alone" in each for each in caplog.messages)
    assert f"{remedy}\n" in gpunn("inspect", "people.csv", "--target=left").stdout

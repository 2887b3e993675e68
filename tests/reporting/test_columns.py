"""Which columns of a table matter, and errors by category."""

import numpy as np
import pytest

import gpunn
from gpunn.experiment.splits import Split, Splits
from gpunn.losses import MeanSquaredError, SoftmaxCrossEntropy
from gpunn.reporting.charts import ranking
from gpunn.reporting.columns import MAX_BARS, column_charts, examine_columns
from gpunn.tables import Schema, table_of

CITIES = ["Bern", "Oslo", "Rome"]


@pytest.fixture
def people():
    """A table whose encoded columns are x, noise, and the code of the city."""
    random = np.random.default_rng(0)
    x, noise = random.normal(size=(2, 300))
    cities = [CITIES[place] for place in random.integers(0, 3, 300)]
    return table_of({"x": x, "noise": noise, "city": cities})


def network(people, units, weights):
    """A network that is one product, of the first column alone."""
    schema = Schema.fit(people, scaling="none")
    layer = gpunn.layers.Dense(units, bias=False)
    model = gpunn.Sequential([layer], schema.width, backend="numpy", dtype="float64")
    model.parameters["dense_1.weights"][...] = weights
    model.schema = schema
    return model


def test_numbers(people):
    """With y = 2 x everywhere but in Rome, where it is 1 more."""
    model = network(people, 1, [[2.0], [0.0], [0.0]])
    in_rome = np.array(
        [people.column("city").values[code] == "Rome" for code in people.column("city").codes]
    )
    y = 2 * people.column("x") + in_rome
    split = Split(people, y)
    found = examine_columns(model, MeanSquaredError(), Splits(split, None, None, {}))
    assert (found.measure, found.split, found.rows) == ("RMSE", "training", 300)
    assert next(iter(found.importance)) == "x"
    # Differences of two independent x have twice its variance.
    assert found.importance["x"] == pytest.approx(2 * np.sqrt(2), rel=0.2)
    assert found.importance["noise"] == pytest.approx(0, abs=1e-12)
    assert found.importance["city"] == pytest.approx(0, abs=1e-12)
    (spread,) = found.spreads
    errors = dict(zip(spread.categories, spread.errors, strict=True))
    assert errors == {"Bern": 0, "Oslo": 0, "Rome": pytest.approx(1)}
    assert sum(spread.rows) == 300
    assert found.overall == pytest.approx(np.sqrt(in_rome.mean()))
    importance, by_city = column_charts(found, "run")
    assert importance.rows[0] == ("x", found.importance["x"])
    assert [row[0] for row in by_city.rows] == spread.categories


def test_classes(people):
    model = network(people, 2, [[-20.0, 20.0], [0.0, 0.0], [0.0, 0.0]])
    y = (people.column("x") > 0).astype(np.int64)
    y[:30] = 1 - y[:30]
    rows = np.arange(300)
    splits = Splits(
        Split(people, y, rows[:100]),
        Split(people, y, rows[100:200]),
        Split(people, y, rows[:50]),
        {},
    )
    found = examine_columns(model, SoftmaxCrossEntropy(), splits)
    assert (found.measure, found.split, found.rows) == ("log loss", "validation", 100)
    assert found.importance["x"] > 1
    assert found.importance["noise"] == pytest.approx(0, abs=1e-12)
    assert (found.spread_split, found.spread_measure) == ("test", "error rate")
    assert found.overall == pytest.approx(30 / 50)


def test_several_numbers_count_alike(people):
    model = network(people, 2, [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    y = np.column_stack([people.column("x"), people.column("noise")]) * 1.0
    found = examine_columns(model, MeanSquaredError(), Splits(Split(people, y), None, None, {}))
    assert found.importance["x"] == pytest.approx(found.importance["noise"], rel=0.2)
    assert found.measure == "mean RMSE in standard deviations"


def test_many_categories_and_missing_ones(people):
    names = [f"c{place % 60:02}" if place % 7 else None for place in range(300)]
    table = table_of({"x": people.column("x"), "name": names})
    schema = Schema.fit(table, scaling="none")
    model = gpunn.Sequential([gpunn.layers.Dense(1)], schema.width, backend="numpy")
    model.schema = schema
    split = Split(table, people.column("x"))
    (spread,) = examine_columns(model, MeanSquaredError(), Splits(split, None, None, {})).spreads
    assert spread.categories[0] == "missing or unknown"
    assert spread.categories[-1] == f"{61 - MAX_BARS} other categories"
    assert sum(spread.rows) == 300


def test_a_ranking_names_its_bars():
    chart = ranking(
        "key",
        "Title",
        ["one", "a name that is far too long for a chart", "three"],
        [3.0, 1.0, -0.5],
        maximum=2,
        label="rise",
        columns=("column", "rise"),
        rows=[("one", 3.0), ("two", 1.0), ("three", -0.5)],
        description="",
        note="",
        texts=["12 rows", "5 rows"],
        reference=0.5,
    )
    assert ">one<" in chart.svg
    assert "a name that is far too" in chart.svg
    assert "too long" not in chart.svg
    assert "three" not in chart.svg
    assert len(chart.rows) == 3

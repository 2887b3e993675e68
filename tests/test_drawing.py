"""The drawing of a network, read as XML."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from layers.blocks import Shortcuts, Twice

import gpunn
from gpunn import layers
from gpunn.drawing.network import MAX_LAYERS

NAMESPACE = "{http://www.w3.org/2000/svg}"


def texts(picture):
    return [one.text for one in ET.fromstring(picture.svg).iter(f"{NAMESPACE}text")]


def boxes(picture):
    found = []
    for one in list(ET.fromstring(picture.svg).iter(f"{NAMESPACE}rect"))[1:]:
        x, y, width, height = (float(one.get(key)) for key in ("x", "y", "width", "height"))
        found.append((x, y, x + width, y + height))
    return found


def network(*inside, shape=9):
    return gpunn.Sequential(list(inside), shape, "numpy")


@pytest.fixture
def groups():
    return layers.ColumnGroups(
        [
            {"columns": [0, 3]},
            {"columns": [3, 5], "layers": [layers.Embedding([4, 10], dimension=2)]},
            {"columns": [8, 9], "layers": [layers.Dense(8, "silu"), layers.Dense(4)]},
        ]
    )


def test_layers_shapes_and_parameters():
    model = network(layers.Dense(64, "relu"), layers.Dropout(0.25), layers.Dense(10))
    picture = model.plot()
    assert texts(picture) == [
        *("input (9,)", "dense_1", "relu · 640 parameters"),
        *("(64,)", "dropout_1", "rate 0.25"),
        *("(64,)", "dense_2", "650 parameters"),
        *("output", "(10,)", "1,290 parameters"),
    ]
    assert picture._repr_svg_() == picture.svg
    assert str(picture) == model.summary()
    root = ET.fromstring(picture.svg)
    assert root.get("role") == "img"
    assert root.find(f"{NAMESPACE}desc").text == model.summary()


def test_branches_of_blocks_stand_side_by_side():
    both = layers.Concatenate([[layers.Dense(3, "relu"), layers.Dense(2)], []])
    twice = Twice(layers.Dense(11, "tanh", trainable=False))
    picture = network(both, twice, Shortcuts([layers.Dense(2), layers.Dense(4)])).plot()
    shown = texts(picture)
    for text in (
        *("side by side · 38 parameters", "branch 1", "relu · 30 parameters", "8 parameters"),
        *("branch 2", "unchanged", "(9,)", "body, 3 calls", "tanh · 132 parameters, frozen"),
        *("layers", "24 parameters", "56 parameters"),
    ):
        assert text in shown
    assert "unused" not in shown
    left, right = sorted(boxes(picture)[2:5])[0], sorted(boxes(picture)[2:5])[-1]
    assert left[2] < right[0]


def test_groups_of_columns_stand_side_by_side(groups):
    picture = network(groups, layers.Dense(2)).plot()
    shown = texts(picture)
    for text in ("columns 0 to 2", "unchanged", "columns 3 to 4", "column 8", "(3,)", "(4,)"):
        assert text in shown
    assert shown.count("(4,)") == 2  # both embeddings side by side, and the second dense layer
    outer, first, second, third, fourth, last = boxes(picture)
    assert first[1] == second[1] == third[1] < fourth[1]
    assert first[2] < second[0] < second[2] < third[0]
    for inner in (first, second, third, fourth):
        assert outer[0] < inner[0] < inner[2] < outer[2]
        assert outer[1] < inner[1] < inner[3] < outer[3] < last[1]


def test_frozen_layers(groups):
    model = network(groups, layers.Dense(4, trainable=False), layers.Dense(2))
    plain = model.plot().svg
    assert texts(model.plot()).count("48 parameters, frozen") == 1
    groups.trainable = False
    shown = texts(model.plot())
    for text in ("80 parameters, frozen", "28 parameters, frozen", "silu · 16 parameters, frozen"):
        assert text in shown
    assert "10 parameters" in shown
    assert model.plot().svg.count("#e6eefc") == 1 < plain.count("#e6eefc")


def test_members_stand_behind_one_another():
    model = network(
        layers.Members(32), layers.MemberDense(4), layers.Dropout(0.5), layers.MeanOverMembers()
    )
    picture = model.plot()
    assert "32 members · 288 parameters" in texts(picture)
    assert "rate 0.5 · 32 members" in texts(picture)
    assert len(boxes(picture)) == 3 * 3 + 1
    assert picture.svg.count("stroke-dasharray") == 1  # what comes after the loss


def test_a_chain_and_a_layer_of_ones_own():
    class Doubled(layers.Layer):
        name = "doubled"

        def __post_init__(self):
            super().__post_init__()
            self.inner = layers.Dense(9, "tanh")

        def children(self):
            return {"inner": self.inner}

        def output_shape(self, shape):
            return shape

    chain = layers.Chain([layers.Dense(5, "relu"), layers.Dense(3)], label="<both>")
    shown = texts(network(Doubled(), chain).plot())
    assert "dense, tanh" in shown
    assert "<both>" in shown
    assert "relu · 50 parameters" in shown


def test_no_text_is_markup():
    picture = network(layers.Dense(1, label="<b>&amp;")).plot()
    assert "<b>&amp;" in texts(picture)
    assert "<b>" not in picture.svg


def test_of_very_many_layers_the_first_and_the_last_are_drawn(groups):
    deep = network(*(layers.Dense(3) for _ in range(100)))
    shown = texts(deep.plot())
    assert {
        "dense_1",
        f"dense_{MAX_LAYERS // 2}",
        f"{100 - MAX_LAYERS} more layers",
        "dense_100",
    } <= set(shown)
    assert "dense_50" not in shown
    wide = layers.ColumnGroups([{"columns": [n, n + 1]} for n in range(50)])
    shown = texts(network(wide, layers.Dense(1), shape=50).plot())
    assert "45 more groups" in shown
    assert "column 5" not in shown


def test_every_box_lies_within_the_picture(groups):
    parts = [groups, layers.Members(4), layers.MemberDense(2), layers.Dropout(0.1)]
    picture = network(*parts).plot()
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', picture.svg).groups())
    for left, top, right, bottom in boxes(picture):
        assert 0 < left < right < width
        assert 0 < top < bottom < height


def test_saving(tmp_path):
    picture = network(layers.Dense(1)).plot()
    picture.save(tmp_path / "network.svg")
    assert (tmp_path / "network.svg").read_text(encoding="utf-8") == picture.svg


def test_the_documents_show_the_present_picture():
    page = Path(__file__).parents[1] / "docs" / "how_to" / "report.md"
    (code,) = re.findall(r"```python\n(groups = .*?)diagram.save", page.read_text("utf-8"), re.S)
    names = {"gpunn": gpunn}
    exec(code, names)
    assert page.with_name("network.svg").read_text("utf-8") == names["diagram"].svg

import copy
import pickle
import sys

import pytest

from gpunn.errors import ArgumentError, MissingPackageError
from gpunn.training import History


def history():
    result = History()
    result.append({"epoch": 1, "loss": 0.5})
    result.append({"epoch": 2, "loss": 0.25, "val_loss": 0.3})
    return result


def test_columns():
    found = history()
    assert found["loss"] == [0.5, 0.25]
    assert found["val_loss"] == [0.3]
    assert list(found) == ["epoch", "loss", "val_loss"]
    assert len(found) == 3
    assert dict(found)["epoch"] == [1, 2]
    assert "val_loss" in found
    assert found.get("accuracy") is None


def test_a_figure_that_is_not_there():
    with pytest.raises(KeyError, match="accuracy"):
        history()["accuracy"]


def test_empty():
    assert list(History()) == []
    assert len(History()) == 0
    assert History().stopped == ""


def test_rows_are_copies():
    row = {"epoch": 1}
    found = History()
    found.append(row)
    row["epoch"] = 2
    assert found.rows == [{"epoch": 1}]


def test_repr():
    assert repr(history()) == "<History of 2 epochs: epoch, loss, val_loss>"


@pytest.mark.parametrize("way", [copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))])
def test_copies(way):
    first = history()
    first.stopped = "because"
    second = way(first)
    second.append({"epoch": 3})
    assert second.stopped == "because"
    assert (len(first.rows), len(second.rows)) == (2, 3)


# -------------------------------------------------------------------------------- notebooks


@pytest.fixture
def pyplot(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    from matplotlib import pyplot as plt

    plt.switch_backend("agg")
    yield plt
    plt.close("all")


def test_plot(pyplot):
    (axes,) = history().plot()
    assert (axes.get_title(), axes.get_xlabel()) == ("Loss", "epoch")
    training, validation = axes.get_lines()
    assert training.get_xydata().tolist() == [[1, 0.5], [2, 0.25]]
    assert validation.get_xydata().tolist() == [[2, 0.3]]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["training", "validation"]
    assert axes.figure.number in pyplot.get_fignums()


def test_plot_of_chosen_figures(pyplot):
    found = history()
    found.append({"epoch": 3, "loss": 0.2, "learning_rate": 0.1, "accuracy": 0.9})
    assert [axes.get_title() for axes in found.plot()] == ["Loss", "Accuracy"]
    chosen = found.plot("learning_rate", "loss")
    assert [axes.get_title() for axes in chosen] == ["Learning rate", "Loss"]


def test_what_cannot_be_plotted(monkeypatch):
    with pytest.raises(ArgumentError, match="no epoch to plot yet"):
        History().plot()
    with pytest.raises(ArgumentError, match="there is no 'los'; did you mean 'loss'"):
        history().plot("los")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'gpunn\[report\]'"):
        history().plot()


def test_html():
    found = history()
    text = found._repr_html_()
    assert text.startswith("<table><caption>History of 2 epochs: epoch, loss, val_loss</caption>")
    assert text.count("<tr>") == 3
    for epoch in range(3, 100):
        found.append({"epoch": epoch, "loss": 1 / epoch})
    text = found._repr_html_()
    assert text.count("<tr>") == 1 + 31
    assert ">99</th>" in text
    assert ">50</th>" not in text
    assert "…" in text

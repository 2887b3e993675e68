import copy
import json
import math
import pickle
import sys

import pytest

import gpunn
from gpunn.callbacks import EarlyStopping
from gpunn.errors import (
    ArgumentError,
    ArgumentTypeError,
    GpunnError,
    MissingMetricError,
    MissingPackageError,
)
from gpunn.metrics import Accuracy
from gpunn.monitor import Best, directions
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
    assert repr(found) == "<History of 2 epochs: epoch, loss, val_loss>"
    assert (list(History()), len(History()), History().stopped) == ([], 0, "")


def test_a_figure_that_is_not_there():
    with pytest.raises(KeyError) as raised:
        history()["val_los"]
    assert isinstance(raised.value, GpunnError)
    assert str(raised.value).startswith("history: there is no 'val_los'; did you mean 'val_loss'?")
    assert "accuracy" not in history()
    unvalidated = History()
    unvalidated.append({"epoch": 1, "loss": 0.5})
    with pytest.raises(KeyError, match=r"no 'val_loss' without validation data"):
        unvalidated["val_loss"]


def test_a_figure_before_the_first_epoch():
    with pytest.raises(KeyError, match="no epoch has been trained yet; call"):
        History()["val_accuracy"]
    stopped = History()
    stopped.stopped = "interrupted"
    with pytest.raises(
        KeyError, match=r"no epoch has been trained yet \(training ended: interrupted"
    ):
        stopped["val_accuracy"]


def test_a_table_of_pandas():
    pandas = pytest.importorskip("pandas")
    whole = History()
    whole.append({"epoch": 1, "loss": 0.5, "val_loss": 0.75})
    whole.append({"epoch": 2, "loss": 0.25, "val_loss": 0.5})
    table = pandas.DataFrame(whole)
    assert list(table.columns) == ["epoch", "loss", "val_loss"]
    assert table["val_loss"].tolist() == [0.75, 0.5]
    with_gap = pandas.DataFrame(history().rows)
    assert with_gap["val_loss"].isna().tolist() == [True, False]


def test_columns_and_rows_are_copies():
    row = {"epoch": 1, "loss": 0.5}
    found = History()
    found.append(row)
    row["epoch"] = 2
    found["loss"].append(0.1)
    assert found.rows == [{"epoch": 1, "loss": 0.5}]
    assert json.loads(json.dumps(found)) == dict(found) == {"epoch": [1], "loss": [0.5]}


def test_other_rows():
    found = history()
    found.replace(found.rows[:1])
    assert found.rows == [{"epoch": 1, "loss": 0.5}]
    assert dict(found) == {"epoch": [1], "loss": [0.5]}


def with_figures(**figures):
    found = History()
    found.larger_is_better = directions([Accuracy()])
    for epoch, row in enumerate(zip(*figures.values(), strict=True), 1):
        found.append({"epoch": epoch, **dict(zip(figures, row, strict=True))})
    return found


def test_the_best_epoch():
    found = with_figures(loss=[3, 2, 1], val_loss=[1, 0.5, 0.75], val_accuracy=[0.5, 0.25, 0.75])
    assert found.best_epoch == 3  # by val_accuracy
    assert found.best_epoch_by("val_loss") == 2
    assert found.best_epoch_by("val_loss", mode="max") == 1
    found.rule = Best("val_loss", "min", 0.75)
    assert found.best_epoch == 1
    assert with_figures(loss=[3, 2, 1], val_loss=[1, 0.5, 0.75]).best_epoch == 2


def test_no_best_epoch():
    with pytest.raises(ArgumentError, match="no epoch has been trained yet"):
        _ = History().best_epoch
    with pytest.raises(ArgumentError, match=r"without validation data.*name one"):
        _ = with_figures(loss=[1.0]).best_epoch
    with pytest.raises(ArgumentError, match="did you mean 'val_accuracy'"):
        with_figures(val_loss=[1.0], val_accuracy=[0.5]).best_epoch_by("val_acc")
    with pytest.raises(ArgumentError, match="no finite value in 1 epoch"):
        _ = with_figures(val_loss=[math.nan]).best_epoch
    with pytest.raises(ArgumentError, match="a larger or a smaller 'mine' is better"):
        with_figures(mine=[1.0]).best_epoch_by("mine")
    with pytest.raises(ArgumentTypeError, match=r"monitor: expected the name .*; got 3"):
        with_figures(loss=[1.0]).best_epoch_by(3)
    with pytest.raises(MissingMetricError, match="there is no '3'"):
        _ = with_figures(loss=[1.0])[3]


def test_the_best_epoch_of_a_training():
    X, y, *_ = gpunn.data.load_digits()
    model = gpunn.Sequential([gpunn.layers.Dense(10)], (64,), "numpy", seed=0)
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", metrics=["accuracy"])
    stopping = EarlyStopping("accuracy", patience=2, min_delta=0.02)
    options = {"validation_split": 0.2, "progress": False}
    found = trainer.fit(X[:200], y[:200], epochs=8, callbacks=[stopping], **options)
    assert found.best_epoch == stopping.best_epoch
    assert found["accuracy"][stopping.best_epoch - 1] == stopping.best
    trainer.fit(X[:200], y[:200], epochs=1, **options)
    assert found.best_epoch == found["val_accuracy"].index(max(found["val_accuracy"])) + 1


@pytest.mark.parametrize("way", [copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))])
def test_copies(way):
    first = history()
    first.stopped = "because"
    second = way(first)
    second.append({"epoch": 3})
    assert second.stopped == "because"
    assert (len(first.rows), len(second.rows)) == (2, 3)


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


@pytest.mark.usefixtures("pyplot")
def test_plot_of_validation_alone():
    (axes,) = history().plot("val_loss")
    (line,) = axes.get_lines()
    assert line.get_xydata().tolist() == [[2, 0.3]]
    assert (axes.get_title(), line.get_label()) == ("Loss", "validation")


def test_what_cannot_be_plotted(monkeypatch):
    with pytest.raises(ArgumentError, match="no epoch has been trained yet"):
        History().plot()
    with pytest.raises(ArgumentError, match="there is no 'los'; did you mean 'loss'"):
        history().plot("los")
    with pytest.raises(ArgumentError, match=r"names: there is no \['loss'\]"):
        history().plot(["loss"])
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingPackageError, match=r"pip install '\.\[report\]'"):
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

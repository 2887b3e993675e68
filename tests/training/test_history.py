import copy
import pickle

import pytest

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

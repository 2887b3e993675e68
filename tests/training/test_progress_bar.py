import io
import math
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from notebooks import Notebook

import gpunn
from gpunn.backends.numpy.compiled.library import library
from gpunn.training.progress_bar import NoBar, progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def fit(progress, **options):
    model = gpunn.Sequential([gpunn.layers.Dense(1)], 2, "numpy")
    trainer = gpunn.Trainer(model, "mean_squared_error", "sgd", log_every=2)
    trainer.fit(
        np.zeros((10, 2)), np.zeros(10), epochs=2, batch_size=3, progress=progress, **options
    )


def test_shown_on_standard_error(monkeypatch, capsys):
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    fit(True)
    text = shown.getvalue()
    for epoch in ("Epoch 1/2: 100%", "Epoch 2/2: 100%"):
        assert epoch in text
    assert "10.0/10.0" in text
    assert "loss=0" in text
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("progress", "kind"), [(True, io.StringIO), (False, Terminal)])
def test_not_shown_where_nobody_sees_it_move_or_asks_for_it(monkeypatch, progress, kind):
    shown = kind()
    monkeypatch.setattr("sys.stderr", shown)
    fit(progress)
    assert shown.getvalue() == ""


def test_shown_in_a_notebook_without_widgets(monkeypatch, capsys):
    """One moving display per epoch in the cell's output; nothing on standard error."""
    notebook = Notebook(monkeypatch)
    monkeypatch.setattr("gpunn.training.progress_bar.has_widgets", lambda: False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(True)
    assert len(notebook.displays) == 2
    for epoch, display in enumerate(notebook.displays, start=1):
        shown = [data["text/plain"] for data in display]
        assert f"Epoch {epoch}/2: 100%" in shown[-1]
        assert "loss=" in shown[-1]
        assert not any(set(line) & set("\r\n") for line in shown)
    assert capsys.readouterr() == ("", "")
    notebook.config.clear()
    fit(True)
    assert len(notebook.displays) == 2, "IPython in a pipe is no notebook"
    assert capsys.readouterr() == ("", "")


def test_shown_as_a_widget_where_there_are_widgets(monkeypatch, capsys):
    Notebook(monkeypatch)
    made = []

    def widget(**options):
        made.append(options)
        return NoBar()

    monkeypatch.setitem(sys.modules, "tqdm.notebook", SimpleNamespace(tqdm=widget))
    monkeypatch.setattr("gpunn.training.progress_bar.has_widgets", lambda: True)
    fit(True)
    assert [(bar["desc"], bar["total"]) for bar in made] == [("Epoch 1/2", 10), ("Epoch 2/2", 10)]
    assert "file" not in made[0]
    assert capsys.readouterr() == ("", "")


def test_every_row_moves_it(monkeypatch):
    moves = []

    class Bar:
        def update(self, rows):
            if moves and isinstance(moves[-1], int):
                moves[-1] += rows  # however many there are at a time
            else:
                moves.append(rows)

        def unpause(self):
            pass

        def set_postfix(self, figures, *, refresh=True):
            moves.append(sorted(figures))

        def close(self):
            moves.append("closed")

    monkeypatch.setattr("gpunn.training.session.progress_bar", lambda *arguments: Bar())
    # Also on a busy machine.
    monkeypatch.setattr("gpunn.training.epoch_blocks.MAX_SECONDS", math.inf)
    monkeypatch.setattr("gpunn.training.epoch_blocks.MIN_EPOCHS", 1)
    monkeypatch.setattr("gpunn.training.epoch_blocks.MAX_WORK", 0)  # the first epoch by requests
    fit(True, validation_data=(np.zeros((1, 2)), np.zeros(1)))
    by_requests = [6, ["loss"], 4, ["loss"], ["loss", "val_loss"], "closed"]
    in_a_block = [10, ["loss", "val_loss"], "closed"]
    assert moves == by_requests + (in_a_block if library() else by_requests)


@pytest.mark.parametrize("shown", [True, False])
def test_bars_have_the_same_methods(shown, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    bar = progress_bar("Epoch 1/1", 3, shown)
    bar.update(3)
    bar.set_postfix({"loss": 1.0}, refresh=False)
    bar.close()

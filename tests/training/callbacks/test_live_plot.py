"""Plots during training, in notebooks and on terminals."""

import io
import os
import re
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from calls import Calls
from notebooks import Notebook
from sums import fit

from gpunn.callbacks import LivePlot
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.training.callbacks import live_plot


@pytest.fixture
def notebook(monkeypatch):
    monkeypatch.setattr(live_plot, "MIN_PAUSE", 0.0)
    monkeypatch.setattr(live_plot, "FRACTION", 1e9)
    return Notebook(monkeypatch).displays


def test_one_picture_that_grows(notebook):
    history = fit(LivePlot())
    (shown,) = notebook
    assert [data["text/plain"].partition(".")[0] for data in shown] == [
        *(f"Curves up to epoch {epoch}" for epoch in (1, 2, 3, 3))
    ]
    last = shown[-1]["image/svg+xml"]
    assert last.startswith("<svg")
    assert f">validation {history['val_loss'][-1]:.4g}<" in last
    assert ">Mean absolute error<" in last


def test_chosen_metrics(notebook):
    fit(LivePlot(["mean_absolute_error"]))
    last = notebook[0][-1]["image/svg+xml"]
    assert ">Mean absolute error<" in last
    assert ">Loss<" not in last


def test_nothing_without_an_epoch(notebook):
    fit(LivePlot(), epochs=0)
    assert notebook == []


class Terminal(io.StringIO):
    """Stands for a terminal, and stores the lines of its window."""

    size = os.terminal_size((100, 30))

    def isatty(self):
        return True

    def fileno(self):
        return 2

    def lines(self, text):
        """Return the text of each line by its number, without colors."""
        plain = re.sub(r"\x1b\[[0-9]*m", "", text)
        return {
            int(place): line
            for place, line in re.findall(r"\x1b\[(\d+);1H\x1b\[2K([^\x1b]*)", plain)
        }


@pytest.fixture
def terminal(monkeypatch):
    shown = Terminal()
    # Not `sys.stderr` itself, which pytest sets anew before a test.
    monkeypatch.setattr(live_plot, "sys", SimpleNamespace(stderr=shown))
    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: shown.size)
    monkeypatch.setattr(live_plot, "MIN_PAUSE", 0.0)
    monkeypatch.setattr(live_plot, "FRACTION", 1e9)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return shown


def test_the_lowest_lines_of_a_terminal(terminal):
    history = fit(LivePlot())
    text = terminal.getvalue()
    assert text.startswith("\n" * 10 + "\x1b[10A\x1b7\x1b[1;20r\x1b8")
    growing, _, ended = text.partition("\x1b[r")
    assert growing.count("Loss:") == 3
    assert set(terminal.lines(growing)) == set(range(21, 31))
    assert set(terminal.lines(ended).values()) == {""}  # what was there is cleared away
    after = re.sub(r"\x1b\[[0-9]*m", "", ended.rpartition("\x1b8")[2])
    assert after.startswith(
        f"Loss: train {history['loss'][-1]:.4g} val {history['val_loss'][-1]:.4g} "
    )
    assert len(after.splitlines()) == 10


def test_another_size_of_the_window(terminal, monkeypatch):
    def resize(trainer, logs):
        terminal.size = os.terminal_size((80, (30, 12, 48)[trainer.epoch - 1]))

    fit(Calls(on_epoch_end=resize), LivePlot())
    regions = re.findall(r"\x1b\[(\d*;?\d*)r", terminal.getvalue())
    assert regions == ["1;20", "", "1;32", ""]  # no room in twelve lines


def test_without_colors(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    fit(LivePlot())
    assert not re.search(r"\x1b\[[0-9]*m", terminal.getvalue())


class Latin(Terminal):
    encoding = "latin-1"


@pytest.mark.parametrize("place", ["a file", "a dumb terminal", "one without Unicode", "no window"])
def test_nothing_where_nobody_sees_it_grow(terminal, monkeypatch, place):
    shown = terminal
    if place == "a file":
        shown = io.StringIO()
    elif place == "one without Unicode":
        shown = Latin()
    elif place == "no window":
        shown.size = os.terminal_size((0, 0))
    else:
        monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(live_plot, "sys", SimpleNamespace(stderr=shown))
    fit(LivePlot())
    assert shown.getvalue() == ""


def test_a_drawing_that_fails_ends_no_training(terminal, monkeypatch, caplog):
    failing = Mock(side_effect=OSError(5, "Input/output error"))
    monkeypatch.setattr(live_plot, "text_curves", failing)
    history = fit(LivePlot(), epochs=5)
    assert len(history.rows) == 5
    (record,) = caplog.records
    assert "live_plot: drawing curves failed (OSError: " in record.getMessage()
    assert "training continues" in record.getMessage()


def test_drawing_takes_a_small_part_of_the_time(monkeypatch):
    clock = SimpleNamespace(now=0.0, drawn=0)

    class Slow:
        def draw(self, rows, names):
            clock.now += 1.0
            clock.drawn += 1

        end = draw

    def work(trainer, logs):
        clock.now += 1.0

    monkeypatch.setattr(live_plot, "surface", Slow)
    monkeypatch.setattr(live_plot, "time", SimpleNamespace(monotonic=lambda: clock.now))
    fit(Calls(on_epoch_end=work), LivePlot(), epochs=120)
    assert clock.drawn == 4  # after epochs 1, 51 and 101, and in the end


def test_metrics_that_there_are_not():
    with pytest.raises(ArgumentError, match=r"live_plot\.metrics: there is no 'los'; did you mean"):
        fit(LivePlot(["los"]))
    for given in ("loss", None, ["loss", 3]):
        with pytest.raises(ArgumentTypeError, match="metrics: expected a list of names; got "):
            LivePlot(given)

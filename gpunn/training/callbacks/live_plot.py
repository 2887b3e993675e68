"""Plot loss and metrics during training, in a notebook or on a terminal."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TextIO

from gpunn.drawing import curves_drawing, text_curves
from gpunn.errors import ArgumentError, ArgumentTypeError, suggest
from gpunn.terminal import is_terminal
from gpunn.training.callbacks.base import Callback
from gpunn.training.progress_bar import Display, in_notebook
from gpunn.training.trainer_protocol import TrainerProtocol

LOG = logging.getLogger("gpunn")

FRACTION = 0.02

MIN_PAUSE = 0.1

MIN_LINES, MAX_LINES = 6, 16
"""Minimum and maximum lines for curves; between these, a third of the terminal's lines."""

MIN_COLUMNS = 20
"""The minimum number of columns for curves. (Some emulated terminals report 0 columns.)"""


@dataclass(eq=False)
class LivePlot(Callback):
    """Show curves of the loss and the metrics, and update them after each epoch.

    In a notebook, the curves are a chart in the output of the cell. On a terminal, including over
    ssh, the curves use the lowest lines of the window, and all other output scrolls above the
    curves. In a job's log or on a terminal without Unicode, the callback shows nothing.

    If drawing fails, gpunn logs one warning, and training continues without curves.

    Parameters
    ----------
    metrics : sequence of str
        The curves to show, such as ["loss", "accuracy"], for training and validation rows. By
        default, the loss and all metrics are shown.

    Raises
    ------
    ArgumentError
        When training begins, if a metric does not exist.

    Examples
    --------
    >>> X, y, *_ = gpunn.data.load_digits()
    >>> model = gpunn.Sequential([gpunn.layers.Dense(10)], 64, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "softmax_cross_entropy", metrics=["accuracy"])
    >>> history = trainer.fit(
    ...     X, y, epochs=3, callbacks=[gpunn.callbacks.LivePlot(["accuracy"])], progress=False
    ... )
    """

    reads_only: ClassVar[bool] = True
    metrics: Sequence[str] = field(default_factory=list)

    name = "live_plot"

    def __post_init__(self) -> None:
        names = self.metrics
        is_list = isinstance(names, Sequence) and not isinstance(names, str)
        if not is_list or not all(isinstance(name, str) for name in names):
            raise ArgumentTypeError(f"metrics: expected a list of names; got {names!r}")
        self._surface: Surface | None = None
        self._drawn_at = self._took = 0.0

    def on_train_begin(self, trainer: TrainerProtocol) -> None:
        for name in self.metrics:
            if name not in trainer.metric_names:
                hint = suggest(name, trainer.metric_names)
                raise ArgumentError(f"live_plot.metrics: there is no {name!r}; {hint}")
        self._surface, self._drawn_at, self._took = surface(), 0.0, 0.0

    def on_epoch_end(self, trainer: TrainerProtocol, logs: Mapping[str, float]) -> None:
        pause = max(MIN_PAUSE, self._took / FRACTION)
        if self._surface is not None and time.monotonic() - self._drawn_at >= pause:
            self._try(lambda shown: shown.draw(trainer.history.rows, self.metrics))

    def on_train_end(self, trainer: TrainerProtocol) -> None:
        self._try(lambda shown: shown.end(trainer.history.rows, self.metrics))
        self._surface = None

    def _try(self, function: Callable[[Surface], None]) -> None:
        shown = self._surface
        if shown is None:
            return
        began = time.monotonic()
        try:
            function(shown)
        except Exception as error:
            self._surface = None
            LOG.warning(
                "live_plot: drawing curves failed (%s: %s); training continues without curves",
                type(error).__name__,
                error,
            )
        self._drawn_at = time.monotonic()
        self._took = self._drawn_at - began


class Surface(Protocol):
    def draw(self, rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
        """Replace the plot: draw the curves of `names` from the epochs' logs in `rows`."""

    def end(self, rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
        """Draw the final curves, which stay visible."""


def surface() -> Surface | None:
    if in_notebook():
        return Notebook()
    stream = sys.stderr
    if is_terminal(stream) and os.environ.get("TERM") != "dumb" and writes_dots(stream):
        return Terminal(stream)
    return None


def writes_dots(stream: TextIO) -> bool:
    try:
        "\u28ff".encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


class Notebook:
    def __init__(self) -> None:
        self._display = Display()

    def draw(self, rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
        chart = curves_drawing(rows, names)
        self._display.show({"image/svg+xml": chart.svg, "text/plain": chart.text})

    def end(self, rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
        if rows:
            self.draw(rows, names)


class Terminal:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colors = "NO_COLOR" not in os.environ
        self._size: os.terminal_size | None = None
        self._lines = 0

    def draw(self, rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
        size = os.get_terminal_size(self._stream.fileno())
        if size != self._size:
            self._release()
            self._size = size
            self._lines = min(MAX_LINES, size.lines // 3)
            if self._lines < MIN_LINES or size.columns < MIN_COLUMNS:
                self._lines = 0  # too small now; the user may enlarge the window
            else:
                self._reserve()
        if self._lines:
            self._write("\x1b7", *self._placed(self._curves(rows, names, size)), "\x1b8")

    def end(self, rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
        size = self._size
        self._release()
        if size is not None and size.columns >= MIN_COLUMNS and rows:
            self._write(*(f"{line}\n" for line in self._curves(rows, names, size)))

    def _curves(
        self, rows: Sequence[Mapping[str, float]], names: Sequence[str], size: os.terminal_size
    ) -> list[str]:
        height = min(MAX_LINES, max(MIN_LINES, size.lines // 3))
        return text_curves(rows, size.columns - 1, height, names, colors=self._colors)

    def _placed(self, lines: Sequence[str]) -> list[str]:
        assert self._size is not None
        top = self._size.lines - self._lines + 1
        return [f"\x1b[{top + number};1H\x1b[2K{line}" for number, line in enumerate(lines)]

    def _reserve(self) -> None:
        assert self._size is not None
        # Add empty lines, move back up, and restrict scrolling, which moves the cursor.
        empty = "\n" * self._lines + f"\x1b[{self._lines}A"
        self._write(empty, "\x1b7", f"\x1b[1;{self._size.lines - self._lines}r", "\x1b8")

    def _release(self) -> None:
        if self._lines:
            empty = self._placed([""] * self._lines)
            self._write("\x1b7", "\x1b[r", *empty, "\x1b8")
        self._size, self._lines = None, 0

    def _write(self, *text: str) -> None:
        self._stream.write("".join(text))
        self._stream.flush()

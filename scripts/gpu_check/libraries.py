"""Libraries that train side by side: a process for each, and what it is asked.

An adapter, a module of `adapters`, has `start(mode)`, which returns the library's name and version,
and `train(mode, cell, ask)`, which trains as many epochs as `ask` returns, gives it what it saw of
them, and ends when that is 0. Where it can't be used, it raises `SkipError`.
"""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import device
import training
from process import Child, EndedError, Row, SkipError, first_line

ANSWER = 90.0 * device.PATIENCE
"""Seconds until a library that gives no answer is given up."""


class Stretch(NamedTuple):
    """Some epochs of a training, with the mean loss of each; `predict` returns classes of rows.

    `seconds` are the host's, from before the first permutation is drawn to after the last epoch's
    loss is read. `device_seconds` are those between CUDA events at the first step and after the
    last one of each epoch; None for a library that gives no access to its stream.
    """

    seconds: float
    device_seconds: float | None
    losses: Sequence[float]
    predict: Callable[[Any], Any]


Ask = Callable[[Stretch | None], int]


def stretches(
    ask: Ask, epoch: Callable[[int], tuple[float, float | None]], predict: Callable[[Any], Any]
) -> None:
    """Train as many epochs as are asked for.

    `epoch` trains the one of a number, and returns its loss and the device's seconds.
    """
    number, done = 0, None
    while epochs := ask(done):
        began = time.perf_counter()
        seen = [epoch(each) for each in range(number, number + epochs)]
        seconds, number = time.perf_counter() - began, number + epochs
        on_device = [each for _, each in seen if each is not None]
        losses = [loss for loss, _ in seen]
        done = Stretch(seconds, sum(on_device) if on_device else None, losses, predict)


class LibraryError(Exception):
    """Raised where a library fails; the message says how."""


class Library(Child):
    """A library's process: its name and version, or why it can't be used, or isn't any more."""

    def __init__(self, adapter: str, mode: str) -> None:
        super().__init__(serve, adapter, mode)
        self.name = self.skip = ""

    def introduce(self) -> None:
        """Wait until it says what it is."""
        with suppress(LibraryError):
            self.name, self.skip = self.reply()

    def ask(self, *question: Any) -> Any:
        """Ask, and return the answer."""
        self.tell(question)
        return self.reply()

    def tell(self, what: Any) -> None:
        """Send what has no answer; if the process has ended, `reply` tells."""
        with suppress(OSError):
            self.connection.send(what)

    def reply(self) -> Any:
        """Wait for an answer; without one, the library is given up."""
        try:
            said = self.answer(ANSWER)
        except TimeoutError:
            why = f"no answer within {ANSWER:.0f} s"
        except EndedError as ended:
            why = str(ended)
        else:
            if isinstance(said, LibraryError):
                raise said
            return said
        self.skip = f"failed: {why}"
        self.end()
        raise LibraryError(why)


def serve(connection: Any, adapter: str, mode: str) -> None:
    """Train what is asked for; this is the library's process."""
    device.prepare()
    try:
        library = importlib.import_module(f"adapters.{adapter}")
        connection.send((library.start(mode), ""))
    except SkipError as reason:
        connection.send(("", str(reason)))
        return
    with suppress(EOFError):
        while True:
            answer_for(connection, library, mode, connection.recv())


def answer_for(connection: Any, library: Any, mode: str, cell: Any) -> None:
    """Do a training, asking for its epochs."""
    wants_accuracy = False

    def ask(done: Stretch | None) -> int:
        nonlocal wants_accuracy
        if done is not None:
            said: Row = done._replace(predict=None)._asdict()
            if wants_accuracy:
                data = training.with_features(cell.sizes[0])
                said["accuracy"] = float((done.predict(data.X_test) == data.y_test).mean())
            connection.send(said)
        epochs, wants_accuracy = connection.recv()
        return int(epochs)

    try:
        library.train(mode, cell, ask)
        connection.send(None)
    except Exception as error:
        traceback.print_exc()
        connection.send(LibraryError(first_line(error)))

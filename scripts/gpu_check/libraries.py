"""Libraries that are compared: one process for each, and the requests to it.

An adapter is a module of `adapters`. The function `start(mode)` returns the library's name and
version. The function `train(mode, cell, ask)` trains as many epochs as `ask` returns, passes their
`Stretch` to `ask`, and ends if `ask` returns 0. An adapter that can't be used raises `SkipError`.
"""

import importlib
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import device
from process import Child, EndedError, Row, SkipError, first_line

ANSWER = 90.0 * device.PATIENCE
"""Seconds after which a library without an answer is no longer timed."""


class Stretch(NamedTuple):
    """Some epochs of a training, with the mean loss of each; `predict` returns classes of rows.

    `seconds` is the host's time, from before the first permutation to after the last loss is read.
    `device_seconds` is the time between CUDA events at the first and after the last step of each
    epoch, or None for a library without access to its stream.
    """

    seconds: float
    device_seconds: float | None
    losses: Sequence[float]
    predict: Callable[[Any], Any]


Ask = Callable[[Stretch | None], int]


def stretches(
    ask: Ask, epoch: Callable[[int], tuple[float, float | None]], predict: Callable[[Any], Any]
) -> None:
    """Train as many epochs as `ask` requests.

    `epoch` trains the epoch with a given number, and returns its loss and the device's seconds.
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
    """Raised if a library fails; the message has the reason."""


class Library(Child):
    """A library's process. `name` has the version; `skip`, if any, is why it is not timed."""

    def __init__(self, adapter: str, mode: str) -> None:
        super().__init__(serve, adapter, mode)
        self.name = self.skip = ""

    def introduce(self) -> None:
        with suppress(LibraryError):
            self.name, self.skip = self.reply()

    def ask(self, *question: Any) -> Any:
        self.tell(question)
        return self.reply()

    def tell(self, what: Any) -> None:
        """Send a message without an answer; `reply` reports if the process has ended."""
        with suppress(OSError):
            self.connection.send(what)

    def reply(self) -> Any:
        """Wait for an answer; without one, the library is no longer timed."""
        try:
            answer = self.answer(ANSWER)
        except TimeoutError:
            why = f"no answer within {ANSWER:.0f} s"
        except EndedError as ended:
            why = str(ended)
        else:
            if isinstance(answer, LibraryError):
                raise answer
            return answer
        self.skip = f"failed: {why}"
        self.end()
        raise LibraryError(why)


def serve(connection: Any, adapter: str, mode: str) -> None:
    """Train on request; this runs in the library's process."""
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
    wants_accuracy = False

    def ask(done: Stretch | None) -> int:
        nonlocal wants_accuracy
        if done is not None:
            row: Row = done._replace(predict=None)._asdict()
            if wants_accuracy:
                import training  # with gpunn, which only its adapter needs before

                data = training.mnist_or_synthetic()
                row["accuracy"] = float((done.predict(data.X_test) == data.y_test).mean())
            connection.send(row)
        epochs, wants_accuracy = connection.recv()
        return int(epochs)

    try:
        library.train(mode, cell, ask)
        connection.send(None)
    except Exception as error:
        traceback.print_exc()
        connection.send(LibraryError(first_line(error)))

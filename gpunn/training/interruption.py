"""Handle Ctrl-C and SIGTERM between steps, never inside a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

REASONS = {signal.SIGINT: "interrupted by Ctrl-C", signal.SIGTERM: "ended by SIGTERM"}


class Stop(threading.local):
    event: threading.Event | None = None


STOP = Stop()


@contextmanager
def stopped_by(event: threading.Event) -> Iterator[None]:
    """In this context, `Interruption.requested` raises a KeyboardInterrupt if the event is set."""
    outer, STOP.event = STOP.event, event
    try:
        yield
    finally:
        STOP.event = outer


class Interruption:
    """A context that only records a first Ctrl-C or SIGTERM; a second signal acts immediately.

    In threads other than the main thread, this context does nothing; they can share the main
    thread's object or use `stopped_by`. Custom signal handlers stay in place.
    """

    def __init__(self) -> None:
        self._requested = False
        self._signal: int = signal.SIGINT
        self._reason = ""
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal or `cancel` has requested an end.

        If the event passed to `stopped_by` is set, this property raises a KeyboardInterrupt.
        """
        if STOP.event is not None and STOP.event.is_set():
            raise KeyboardInterrupt
        return self._requested

    @property
    def reason(self) -> str:
        return self._reason or REASONS[signal.Signals(self._signal)]

    @property
    def exit_status(self) -> int | None:
        # After Ctrl-C the program continues, since its user may want to inspect the results. After
        # SIGTERM the program ends, because a job scheduler, for example, waits for the end.
        return 128 + signal.SIGTERM if self._signal == signal.SIGTERM else None

    @property
    def signal(self) -> int:
        return self._signal if self._requested else 0

    def adopt(self, number: int) -> None:
        self._requested, self._signal = True, number

    def cancel(self, reason: str) -> None:
        if not self._requested:
            self._requested, self._reason = True, reason

    def __enter__(self) -> Interruption:
        if in_main_thread():
            ordinary = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
            for number, handler in ordinary.items():
                current = signal.getsignal(number)
                if current is handler:  # keep a custom handler
                    self._previous[number] = current
                    signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        if in_main_thread():
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            if number == signal.SIGTERM:
                raise SystemExit(128 + number)
            raise KeyboardInterrupt
        self._requested = True
        self._signal = number


def in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()

"""Ctrl-C and SIGTERM between steps instead of inside one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interruption"]

REASONS = {signal.SIGINT: "interrupted by Ctrl-C", signal.SIGTERM: "ended by SIGTERM"}


class Interruption:
    """Within this context the first Ctrl-C or SIGTERM is only noted; a second one acts at once.

    So no step is cut in half, which could leave some parameters updated and others not. Outside the
    main thread, where Python allows no signal handlers, nothing changes, and a custom handler
    stays.
    """

    def __init__(self) -> None:
        self.requested = False
        self._signal: int = signal.SIGINT
        self._previous: dict[int, Any] = {}

    @property
    def reason(self) -> str:
        """What to say about it."""
        return REASONS[signal.Signals(self._signal)]

    @property
    def exit_status(self) -> int | None:
        """The status that the program has to end with, as a shell would show it; None for Ctrl-C.

        Ctrl-C is somebody's, who may want to look at what there is. SIGTERM is a machine's that
        waits for the program to end.
        """
        return 128 + signal.SIGTERM if self._signal == signal.SIGTERM else None

    @property
    def signal(self) -> int:
        """The number of the signal that has come, or 0."""
        return self._signal if self.requested else 0

    def adopt(self, number: int) -> None:
        """Take the signal of another process for one that has come here."""
        self.requested, self._signal = True, number

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            ordinary = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
            for number, handler in ordinary.items():
                current = signal.getsignal(number)
                if current is handler:  # anything else is somebody's own choice
                    self._previous[number] = current
                    signal.signal(number, self._request)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            if number == signal.SIGTERM:
                raise SystemExit(128 + number)
            raise KeyboardInterrupt
        self.requested = True
        self._signal = number

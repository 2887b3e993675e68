"""Standard output and standard error, which may be closed, missing or full."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import click


class StandardStream(io.FileIO):
    """Standard output or standard error. If `title` is empty, failed writes are ignored."""

    def __init__(self, number: int, title: str) -> None:
        super().__init__(number, "w", closefd=False)
        self.title = title

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            title, self.title = self.title, ""  # report it once, not again when Python exits
            if title:
                reason = "it is closed" if error.errno == errno.EBADF else error.strerror
                raise OSError(error.errno, f"cannot be written: {reason}", title) from None
            return len(data)


class FileCommand(click.Command):
    """A command that writes files, and ignores failed writes to standard output."""

    def invoke(self, ctx: click.Context) -> Any:
        raw = raw_of(sys.stdout)
        if isinstance(raw, StandardStream):
            raw.title = ""
        return super().invoke(ctx)


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    # If a stream is missing, its file descriptor is opened for the null device. Otherwise, a file
    # opened later could get the descriptor, and receive all text written to the stream.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # gets the lowest free descriptor; refuses writes
    before = sys.stdout, sys.stderr
    sys.stdout = guarded(sys.stdout, sys.__stdout__, 1, "standard output")
    sys.stderr = guarded(sys.stderr, sys.__stderr__, 2, "")
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(raw_of(stream), StandardStream):
                stream.flush()
        sys.stdout, sys.stderr = before


def guarded(stream: TextIO | None, original: TextIO | None, number: int, title: str) -> TextIO:
    if stream is None:
        return io.TextIOWrapper(io.BufferedWriter(StandardStream(number, title)), "utf-8")
    if stream is not original or type(raw_of(stream)) is not io.FileIO:
        return stream  # from a test, a notebook or a Windows console
    return io.TextIOWrapper(
        io.BufferedWriter(StandardStream(number, title)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=bool(stream.line_buffering),
    )


def raw_of(stream: Any) -> Any:
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)

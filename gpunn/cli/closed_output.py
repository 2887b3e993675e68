"""Standard output and standard error that may be closed, missing or full."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import click

__all__ = ["FileCommand", "standard_streams"]


class StandardStream(io.FileIO):
    """A standard stream. What can't be written is lost if it is a notice, else an error.

    Error messages call it by its title, which is empty if there are only notices on it.
    """

    def __init__(self, number: int, title: str) -> None:
        super().__init__(number, "w", closefd=False)
        self.title = title

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            title, self.title = self.title, ""  # said once, and not again when Python ends
            if title:
                reason = "it is closed" if error.errno == errno.EBADF else error.strerror
                raise OSError(error.errno, f"can't be written: {reason}", title) from None
            return len(data)


class FileCommand(click.Command):
    """A command that answers with files: work goes on if standard output can't be written."""

    def invoke(self, ctx: click.Context) -> Any:
        raw = raw_of(sys.stdout)
        if isinstance(raw, StandardStream):
            raw.title = ""
        return super().invoke(ctx)


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Let what is written to standard error, and can't be, be lost; on standard output, an error.

    A stream that is missing gets its descriptor back, so that no file gets it and what others write
    to the stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # the lowest that is free; nothing can be written
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
    """Return a standard stream that is written by `StandardStream`."""
    if stream is None:
        return io.TextIOWrapper(io.BufferedWriter(StandardStream(number, title)), "utf-8")
    if stream is not original or type(raw_of(stream)) is not io.FileIO:
        return stream  # of a test, a notebook or a console of Windows
    return io.TextIOWrapper(
        io.BufferedWriter(StandardStream(number, title)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=bool(stream.line_buffering),
    )


def raw_of(stream: Any) -> Any:
    """Return what a text stream writes to at last."""
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)

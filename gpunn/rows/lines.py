"""Lines of text from the bytes of a file or pipe, plain or compressed with gzip."""

from __future__ import annotations

import codecs
import io
import itertools
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

MAX_LINE = 2**24
"""Maximum characters of a line or row. Most rows have at most a few thousand characters."""

EXPANSION = 200
"""Maximum ratio of decompressed to compressed bytes. Images have 2 to 20; deflate reaches 1032, but
only for long runs of the same byte."""

FREE_BYTES = 2**24
"""Decompressed bytes that are always allowed, whatever the ratio."""

CHUNK_BYTES = 2**16


class RowsError(ValueError):
    """A problem with rows. The message names the line; the caller adds the file's name."""


def chunks_of(file: Any) -> Iterator[bytes]:
    """Yield the bytes of a file or pipe as soon as they arrive; gzip is decompressed.

    After the first gzip member, further members or zero bytes may follow. Decompressed bytes are
    limited to `EXPANSION` times the larger of the file's size and the bytes read so far. The first
    `FREE_BYTES` decompressed bytes are always allowed.
    """
    first = file.read1(2)
    first += file.read1(1) if len(first) == 1 else b""
    if first != b"\x1f\x8b":
        while first:
            yield first
            first = file.read1(CHUNK_BYTES)
        return
    compressed, expanded, size = len(first), 0, size_of_file(file)
    unpacked = zlib.decompressobj(31)
    while first:
        try:
            chunk = unpacked.decompress(first, CHUNK_BYTES)
        except zlib.error as error:
            raise RowsError(
                f"the gzip stream is damaged ({error}); download or copy it again"
            ) from None
        expanded += len(chunk)
        if expanded > max(FREE_BYTES, EXPANSION * max(compressed, size)):
            raise RowsError(
                f"the gzip stream expands to more than {EXPANSION} times its size and to more "
                f"than {FREE_BYTES:,} bytes; if you trust it, decompress it first"
            )
        if chunk:
            yield chunk
        first = unpacked.unused_data.lstrip(b"\0") if unpacked.eof else unpacked.unconsumed_tail
        while not first and (more := file.read1(CHUNK_BYTES)):
            compressed += len(more)
            first = more.lstrip(b"\0") if unpacked.eof else more
        if first and unpacked.eof:  # another member follows, as after `cat a.gz b.gz`
            unpacked = zlib.decompressobj(31)
    if not unpacked.eof:
        raise RowsError("the gzip stream is incomplete; download or copy it again")


def size_of_file(file: Any) -> int:
    try:
        return os.fstat(file.fileno()).st_size
    except OSError:  # the operating system does not know the file
        return 0


class Lines:
    """Splits chunks of UTF-8 bytes into lines of text, each with its line end.

    A byte that is not UTF-8 becomes a surrogate, and sets `is_damaged`. The current row may have
    `left` more characters; the reader resets `left` to `MAX_LINE` after each row. `skipped` is the
    number of empty lines that `ahead` has skipped. `Lines` calls `waits` after each chunk.
    """

    def __init__(self, chunks: Iterable[bytes], waits: Callable[[], None] = lambda: None) -> None:
        self.is_damaged, self.left, self.skipped = False, MAX_LINE, 0
        self._lines = self._read(chunks, waits)

    def __iter__(self) -> Iterator[str]:
        return self._lines

    def ahead(self, characters: int = 0) -> list[str]:
        """Return the next lines without consuming them. Empty lines before them are consumed.

        The returned lines have at least `characters` characters in total, unless the text ends.
        """
        peeked: list[str] = []
        for line in self._lines:
            self.left = MAX_LINE
            if not (peeked or line.strip()):
                self.skipped += 1
                continue
            peeked.append(line)
            characters -= len(line)
            if characters <= 0:
                break
        self._lines = itertools.chain(peeked, self._lines)
        return peeked

    def _read(self, chunks: Iterable[bytes], waits: Callable[[], None]) -> Iterator[str]:
        utf8 = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        decoder = io.IncrementalNewlineDecoder(utf8, translate=False)
        rest, is_first = "", True
        for chunk in itertools.chain(chunks, [b""]):
            text = decoder.decode(chunk, not chunk)
            self.is_damaged = self.is_damaged or not is_encodable(text)
            lines = io.StringIO(text, newline="").readlines()
            if lines:
                lines[0], rest = rest + lines[0], ""
            elif rest and not chunk:
                lines = [rest]
            if lines and chunk and lines[-1][-1] not in "\r\n":
                rest = lines.pop()
            if lines and is_first:
                check_kind(lines[0])
                is_first = False
            for line in lines:
                self.left -= len(line)
                if self.left < 0:
                    break
                yield line
            if len(rest) > self.left:
                raise RowsError(
                    f"a row has more than {MAX_LINE:,} characters; the file is damaged, or neither "
                    "CSV nor JSON lines"
                )
            waits()


def is_encodable(text: str) -> bool:
    """Return whether text has no surrogates. A surrogate replaces a byte that is not UTF-8."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def check_kind(line: str) -> None:
    if line.startswith(("\udcff\udcfe", "\udcfe\udcff")):
        raise RowsError('expected text in UTF-8; got UTF-16; save it as UTF-8 ("CSV UTF-8")')
    if line.startswith("PK\x03\x04"):
        raise RowsError("expected text; got a ZIP archive, such as an XLSX file; save it as CSV")


def wrong_text(text: str) -> str:
    wrong = None if text.isascii() else re.search("[\udc80-\udcff]", text)
    if not wrong:
        return ""
    byte, before = ord(wrong[0]) - 0xDC00, text[: wrong.start()][-20:]
    return (
        f"expected text in UTF-8; got the byte 0x{byte:02x} after {before!r}; save the text as "
        'UTF-8 ("CSV UTF-8")'
    )

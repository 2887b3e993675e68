"""Streams of rows: reading, predicting, and malformed rows."""

import gzip
import io
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from processes import run_python

from gpunn.rows.csv_rows import MAX_COLUMNS
from gpunn.rows.lines import EXPANSION, FREE_BYTES, MAX_LINE, Lines, chunks_of
from gpunn.rows.predict_stream import predict_stream
from gpunn.rows.predictions import predictions_text

LAYOUT: dict[str, Any] = {
    "names": ["x", "y"],
    "positions": [0, 2],
    "width": 3,
    "numeric": [0],
    "header": None,
    "delimiter": None,
    "decimal": None,
}


class Stream:
    def __init__(self, *chunks: str | bytes, skip: bool = False, form: str | None = None, **given):
        self.blocks: list[list[list[str]]] = []
        self.messages: list[str] = []
        self.form = ""
        self.error = ""
        self.skip, self.given, self.wanted = skip, given, form
        self.chunks = [each.encode() if isinstance(each, str) else each for each in chunks]

    def read(self):
        layout = {**LAYOUT, **self.given}
        functions = (self.predict_rows, self.begin, self.messages.append)
        try:
            predict_stream(self.coming(), layout, self.wanted, *functions, self.skip)
        except ValueError as error:
            self.error = str(error)
        return self

    def coming(self) -> Iterator[bytes]:
        yield from self.chunks

    def predict_rows(self, rows):
        counts: dict[tuple[str, str | None], int] = {}
        for row in rows:
            if "bad" in row:
                raise ValueError("column 'y': it is bad")
            if row[-1].startswith("new"):
                counts["y", row[-1]] = counts.get(("y", row[-1]), 0) + 1
            if not row[-1]:
                counts["y", None] = counts.get(("y", None), 0) + 1
        return rows, counts

    def begin(self, form):
        self.form = form
        return self.blocks.append

    @property
    def rows(self):
        return [row for block in self.blocks for row in block]


def test_lines_end_as_they_do_on_any_system_wherever_a_chunk_ends():
    text = "\ufeffé,1\r\n\r\n2\r3\n\u2028x\x0b\n4"
    lines = ["é,1\r\n", "\r\n", "2\r", "3\n", "\u2028x\x0b\n", "4"]
    content = text.encode()
    for size in range(1, len(content)):
        chunks = [content[start : start + size] for start in range(0, len(content), size)]
        assert list(Lines(chunks)) == lines


def test_a_line_without_end_is_refused():
    with pytest.raises(ValueError, match="a row has more than 16,777,216 characters"):
        list(Lines([b"x" * 2**24, b"x"]))


def test_rows_are_predicted_before_a_wait_for_more():
    stream = Stream()

    def coming() -> Iterator[bytes]:
        yield b"x,a,y\n1,,p\n2,"
        assert stream.rows == [["1", "p"]]
        yield b',q\n3,,"r\n'
        assert stream.rows == [["1", "p"], ["2", "q"]]
        yield b's"\n'
        assert stream.rows[2:] == [["3", "r\ns"]]

    stream.coming = coming  # type: ignore[method-assign]
    assert stream.read().error == ""
    assert len(stream.rows) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("\n" * 1000 + " \r\n" + "x,a,y\n1,,p\n2\n", "line 1004: expected 3 cells"),
        ("\n" * 1000 + '{"x": 1, "y": 2}\n{"x": 1}\n', "line 1002: the column 'y' is missing"),
        ("x,a,y\n" + '"\n",' * (MAX_LINE // 4 + 1), "a row has more than 16,777,216 char"),
        ("," * MAX_COLUMNS, "line 1: expected at most 100,000 columns; got 100,001"),
    ],
)
def test_rows_are_bounded(content, said):
    stream = Stream(*(content[at : at + 65536] for at in range(0, len(content), 65536))).read()
    assert said in stream.error


def test_gzip_may_expand_as_much_as_a_file_of_training_data():
    free = gzip.compress(b"\n" * FREE_BYTES)
    assert sum(map(len, chunks_of(io.BytesIO(free)))) == FREE_BYTES
    more = gzip.compress(b"\n" * (FREE_BYTES + 1))
    assert EXPANSION * len(more) < FREE_BYTES
    with pytest.raises(ValueError, match=r"more than 200 times its size .*; if you trust it, dec"):
        list(chunks_of(io.BytesIO(more)))


def test_a_file_may_expand_by_its_whole_size(tmp_path):
    """Even if its beginning expands more, as in `gpunn train`."""
    noise = bytes(range(256)) * 800
    packed = gzip.compress(b"\n" * (FREE_BYTES + 1)) + gzip.compress(noise, 0)
    (tmp_path / "a.gz").write_bytes(packed)
    with open(tmp_path / "a.gz", "rb") as file:
        assert sum(map(len, chunks_of(file))) == FREE_BYTES + 1 + len(noise)


MEASURED = """
import pathlib, resource
from gpunn.rows.lines import chunks_of
from gpunn.rows.predict_stream import predict_stream
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 2**26, taken + 2**26))
layout = dict(names=["x", "y"], positions=[0, 2], width=3, numeric=[0], header=None,
              delimiter=None, decimal=None)
predict_rows = lambda rows: (rows, {})
for path in sorted(pathlib.Path().glob("*.gz")):
    try:
        chunks = chunks_of(open(path, "rb"))
        predict_stream(
            chunks, layout, None, predict_rows, lambda form: lambda rows: None, print, False
        )
    except ValueError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
def test_streams_are_read_in_64_mib(tmp_path):
    contents = (
        b"\r\n" * 2**21,
        b'"\n",' * 2**21,
        b'{"x": 1, "y": 2}\n' + b" \n" * 2**21,
        b"x,a,y\n" + b"1,,p\n" * 2**19,
    )
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.gz").write_bytes(gzip.compress(content, 9))
    ran = run_python("-I", "-c", MEASURED, cwd=tmp_path)
    assert ran.stdout.count("expected at most 100,000 columns; got 2,097,153") == 1


@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_gzip_is_known_by_its_first_bytes(size):
    content = b"".join(b"%d,b,c\n" % number for number in range(20_000))
    packed = gzip.compress(content[:500]) + gzip.compress(content[500:])

    class Slow(io.BytesIO):
        def read1(self, count=-1):
            return super().read1(min(size, count))

    chunks = list(chunks_of(Slow(packed)))
    assert b"".join(chunks) == content
    assert max(map(len, chunks)) <= 65536
    assert b"".join(chunks_of(Slow(content[:50]))) == content[:50]


@pytest.mark.parametrize(
    ("text", "given", "rows"),
    [
        ("x,a,y\n 1 ,2,b\n", {}, [["1", "b"]]),
        ("y;x\nb;1,5\n", {}, [["1.5", "b"]]),
        ("y;x\n1,5;1,5\n", {"decimal": "."}, [["1,5", "1,5"]]),
        ("y\tx\nb,c\t1\n", {}, [["1", "b,c"]]),
        ("x|y,z\n1|2\n", {"delimiter": "|", "names": ["x", "y,z"]}, [["1", "2"]]),
        ("1,5;2;3,5\n", {"names": None, "header": False}, [["1.5", "3,5"]]),
        ("1,2,3\n", {"names": None}, [["1", "3"]]),
        ("1,3\n", {"names": None}, [["1", "3"]]),
        ("a,b\n1,3\n", {"names": None}, [["1", "3"]]),
        ("a,b\n1,3\n", {"names": None, "header": False}, [["a", "b"], ["1", "3"]]),
        ("1,0\n5,6\n", {"names": ["0", "1"], "header": True}, [["6", "5"]]),
        ("5,6\n", {"names": ["1", "0"]}, [["6", "5"]]),
        ("x,y\n\n1,2\n \n", {}, [["1", "2"]]),
        ("x\n\n 1\n \n", {"names": ["x"], "positions": [0]}, [["1"], [""]]),
    ],
)
def test_columns_are_found(text, given, rows):
    stream = Stream(text, **given).read()
    assert (stream.rows, stream.error) == (rows, "")


def test_a_column_has_one_decimal_mark():
    stream = Stream("y;x\n1,5;1,5\n2.5;2\nc;2.5\nd;1.000,5\ne;3,5\n", skip=True).read()
    assert stream.rows == [["1.5", "1,5"], ["2", "2.5"], ["1.000,5", "d"], ["3.5", "e"]]
    assert stream.messages[0] == (
        "line 4, column 'x': expected the same decimal mark as in earlier numbers; got '2.5'; "
        "skipped"
    )


def test_an_older_network_of_a_column_without_a_name():
    assert Stream("a,,y\n5,1,b\n", names=["", "y"]).read().rows == [["1", "b"]]
    assert "the column '' is missing" in Stream(",,y\n5,1,b\n", names=["", "y"]).read().error


COUNTS = "2 columns (inputs of the network) or 3 (as in the training data)"


@pytest.mark.parametrize(
    ("text", "given", "problem"),
    [
        ("x,Y,z\n1,2,3\n", {}, "line 1: the column 'y' (did you mean 'Y'?) is missing; there are"),
        ("x,y,x\n1,2,3\n", {}, "line 1: two columns are called 'x'; rename one of them"),
        ("1,2,3,4\n", {"names": None}, f"line 1: expected {COUNTS}; got 4"),
        ("1,2\n", {}, "line 1: the columns 'x', 'y' are missing; there are '0', '1'"),
        (b"x,y\xe9\n", {}, "line 1: expected text in UTF-8; got the byte 0xe9 after 'x,y'; save"),
        (b"\xff\xfex\0,\0", {}, "expected text in UTF-8; got UTF-16; save it as UTF-8"),
        (b"PK\3\4,y\n", {}, "expected text; got a ZIP archive, such as an XLSX file; save it"),
    ],
)
@pytest.mark.parametrize("skip", [False, True])
def test_missing_columns(text, given, problem, skip):
    stream = Stream(text, **given, skip=skip).read()
    assert stream.error.startswith(problem)
    assert stream.blocks == []  # so not even a header is written


def test_a_missing_header_and_a_missing_column_differ():
    assert "; if the rows have no header, add --no-header" in Stream("1,2\n").read().error
    assert "--no-header" not in Stream("x,z\n1,2\n").read().error
    assert "--no-header" not in Stream("1,2,3,4\n", names=None).read().error


MALFORMED = {
    b"5\n": "line 3: expected 2 cells, as in the first row; got 1; is ',' the right delimiter?",
    b"5,bad\n": "line 3, column 'y': it is bad",
    b"5,\xe9\n": (
        "line 3: expected text in UTF-8; got the byte 0xe9 after '5,'; save the text as "
        'UTF-8 ("CSV UTF-8")'
    ),
    b'5,"a"b\n': (
        "line 3: text follows a closing quotation mark (',' expected after '\"'); "
        "write each quotation mark that is part of the text twice"
    ),
}


@pytest.mark.parametrize("line", MALFORMED, ids=str)
def test_malformed_rows_stop_or_are_counted(line):
    content = b"x,y\n1,a\n" + line + b"2,b\n3,c\n" + line + b"4,d\n"
    stream = Stream(content).read()
    assert stream.error == MALFORMED[line]
    assert stream.rows == [["1", "a"]]
    stream = Stream(content, skip=True).read()
    assert stream.error == ""
    assert stream.rows == [["1", "a"], ["2", "b"], ["3", "c"], ["4", "d"]]
    first, second, last = stream.messages
    assert first == f"{MALFORMED[line]}; skipped"
    assert second.startswith("line 6")
    assert last == "skipped 2 malformed rows"


def test_an_unclosed_quote():
    stream = Stream('x,y\n1,a\n2,"b\n3,c\n').read()
    assert stream.error.startswith("line 3: the row that begins here has an unclosed")
    assert stream.rows == [["1", "a"]]


def test_not_every_malformed_row_is_reported():
    stream = Stream("x,y\n" + "1\n" * 500, skip=True).read()
    assert len(stream.messages) == 12
    assert stream.messages[10:] == ["skipped 500 malformed rows", "there are no rows"]


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ('{"y": "a", "x": 1.5, "z": [1]}', ["1.5", "a"]),
        ('{"x": 2.0, "y": null}', ["2", ""]),
        ('{"x": 1e300, "y": true}', ["1e+300", "True"]),
        ('[1, 2, " b "]', ["1", "b"]),
        ("[1, false]", ["1", "False"]),
    ],
)
def test_json_lines(line, cells):
    stream = Stream(f"\n{line}\n\n{line}").read()
    assert (stream.rows, stream.form, stream.error) == ([cells, cells], "jsonl", "")


@pytest.mark.parametrize(
    ("line", "shape", "problem"),
    [
        ("[[1, 2, 3], [4, 5, 6]]", [2, 3], ""),
        ("[[[1], [2], [3]], [[4], [5], [6]]]", [2, 3, 1], ""),
        ("[1, 2, 3, 4, 5, 6]", [2, 3], ""),
        ("[1, 2, 3, 4, 5, 6]", [6], ""),
        ("[[1, 2], [3, 4], [5, 6]]", [2, 3], "expected 6 columns; got 3"),
        ("[[1, 2, 3], [4, 5]]", [2, 3], "expected 6 columns; got 2"),
        ("[[1, 2, 3], 4]", [2, 3], "expected 6 columns; got 2"),
        ("[[1, 2, 3, 4, 5, 6]]", [6], "expected 6 columns; got 1"),
        ("[[1], [2], [3], [4], [5], [6]]", [6], "column 0: expected a number, text, true,"),
    ],
)
def test_rows_of_images_may_be_nested(line, shape, problem):
    given: dict[str, Any] = {"names": None, "positions": [*range(6)], "width": 6, "shape": shape}
    stream = Stream(f"{line}\n", form="jsonl", **given).read()
    assert stream.error.partition(" 1")[2].removeprefix(": ").removeprefix(", ").startswith(problem)
    assert stream.rows == ([] if problem else [["1", "2", "3", "4", "5", "6"]])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"x": 1, "Y": 2}', "line 2: the column 'y' (did you mean 'Y'?) is missing; there are"),
        ('{"x": [1], "y": 2}', "line 2, column 'x': expected a number, text, true, false or null"),
        ("[1]", f"line 2: expected {COUNTS}; got 1"),
        ("3", "line 2: expected an object or an array; got 3"),
        ("{", "line 2: expected one row as JSON on each line; Expecting property name"),
        ("[" * 100_000, "line 2: "),
    ],
)
def test_malformed_json_lines(line, problem):
    stream = Stream(f"[1, 2]\n{line}\n[3, 4]\n").read()
    assert stream.error.startswith(problem)
    assert stream.rows == [["1", "2"]]
    stream = Stream(f"[1, 2]\n{line}\n[3, 4]\n", skip=True).read()
    assert stream.rows == [["1", "2"], ["3", "4"]]


def test_a_chosen_format():
    assert Stream("[x,y\n1,2\n", form="csv", names=["[x", "y"]).read().rows == [["1", "2"]]
    assert "expected one row as JSON" in Stream("x,y\n", form="jsonl").read().error


@pytest.mark.parametrize("text", ["", "\n\n", "x,y\n"])
def test_no_rows_are_no_error(text):
    stream = Stream(text).read()
    assert stream.error == ""
    assert stream.blocks == [[]]
    assert stream.messages == ["there are no rows"]


def test_unknown_categories_are_counted_in_bounded_memory():
    lines = "".join(f"{row},new{row % 30}\n" for row in range(3000))
    stream = Stream("x,y\n", lines, "1,\n2,\n").read()
    assert stream.messages == [
        "column 'y': 3,000 rows have a category or unit unseen in training, which counts as "
        "missing: 'new0', 'new1', 'new2', 'new3', 'new4'",
        "column 'y': 2 rows have a missing value, but no training row had one; the median "
        "(code 0 for a category) is used",
    ]
    stopped = Stream("x,y\n1,new\n", "1\n").read()
    assert [text[:24] for text in stopped.messages] == ["column 'y': 1 row has a c"[:24]]


def test_predictions_as_text():
    rows = [(["=1"], [0.1234567890123, 1.0]), ([1 / 3], [float("nan"), 0.0])]
    names = ["prediction", "probability_a", "probability_b"]
    assert predictions_text(rows, names, "csv", 9) == "'=1,0.123456789,1\n0.333333333,nan,0\n"
    assert predictions_text(rows, names, "jsonl", 17) == (
        '{"prediction": "=1", "probability_a": 0.123456789, "probability_b": 1.0}\n'
        '{"prediction": 0.3333333333333333, "probability_a": null, "probability_b": 0.0}\n'
    )

"""Readers open regular files alone: no device, no pipe, nothing without an end."""

import os
import resource
import signal
from pathlib import Path
from unittest.mock import Mock

import pytest

import gpunn
from gpunn.callbacks import CSVLog, JSONLinesLog, ModelCheckpoint
from gpunn.config import load_config
from gpunn.data import load_csv, load_npy, load_npz, read_idx
from gpunn.errors import ArgumentError, ArgumentTypeError, FileAccessError, InvalidFileError
from gpunn.interchange import load_state_dict
from gpunn.reporting.records import Ending, Environment, NormRow, history, lines, whole
from gpunn.rows.lines import MAX_LINE
from gpunn.storage.checksums import read_safetensors
from gpunn.storage.files import append, write_atomically
from gpunn.storage.reading import open_file, parsed_json, read_lines, read_whole
from gpunn.tables import read_table
from gpunn.training.callbacks.epoch_logs import csv_header
from gpunn.training.checkpoints.checkpoint import newest_checkpoint

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")


def network():
    return gpunn.Sequential([gpunn.layers.Dense(2)], 3, "numpy")


READERS = {
    "IDX": read_idx,
    "NPY": load_npy,
    "NPZ": load_npz,
    "CSV": lambda path: load_csv(path, -1),
    "table": read_table,
    "a CSV log's header": csv_header,
    "TOML": load_config,
    "model": lambda path: gpunn.load_model(path, "numpy"),
    "safetensors": read_safetensors,
    "state dict": lambda path: load_state_dict(network(), path),
    "history.jsonl": history,
    "norms.jsonl": lambda path: lines(path, NormRow),
    "norms of a resumed run": lambda path: list(read_lines(path, InvalidFileError)),
    "environment.json": lambda path: whole(path, Environment),
    "evaluation.json": lambda path: whole(path, Ending),
}


OPTIONAL = {"a CSV log's header", "history.jsonl", "norms.jsonl"}
"""These files may be missing, without any error."""


@pytest.fixture
def bounded():
    """A minute, and 2 GiB more than there are, for what would otherwise take everything.

    Memory that is written to: a map of a large file needs none.
    """

    def too_late(*_):
        raise AssertionError("waits for something that does not come")

    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    handler = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(60)
    resource.setrlimit(resource.RLIMIT_DATA, (used + 2**31, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", READERS)
def test_what_nobody_writes_to_and_what_has_no_end(name, kind, tmp_path, bounded):
    path = tmp_path / "file"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(InvalidFileError, match=f"file: expected a regular file, got a {kind}"):
        READERS[name](path)


@pytest.mark.parametrize("name", READERS)
def test_20_gigabytes_that_take_no_room(name, tmp_path, bounded):
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.truncate(20 * 10**9)
    with pytest.raises(InvalidFileError, match="file"):
        READERS[name](path)


def test_a_good_beginning_and_20_gigabytes(tmp_path, bounded):
    """What is behind the last whole line is not kept, but it has to be a line."""
    path = tmp_path / "history.jsonl"
    path.write_text('{"epoch": 1}\n')
    os.truncate(path, 20 * 10**9)
    with pytest.raises(InvalidFileError, match=r"history\.jsonl, line 2: damaged: more than"):
        history(path)
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n")
    os.truncate(path, 20 * 10**9)
    with pytest.raises(InvalidFileError, match=r"data\.csv: a row has more than"):
        load_csv(path, -1)


@pytest.mark.parametrize("name", sorted(READERS.keys() - OPTIONAL))
@pytest.mark.parametrize("path", ["a\0b", "a\ud800b", "\0"])
def test_a_path_that_no_file_can_have(name, path):
    with pytest.raises(ArgumentError, match=r"has a character that no file name can have"):
        READERS[name](path)


@pytest.mark.parametrize(
    "write",
    [
        *(lambda path: write_atomically(path, b""), lambda path: append(path, "")),
        *(CSVLog, JSONLinesLog, ModelCheckpoint),
    ],
)
def test_writing_to_a_path_that_no_file_can_have(write):
    with pytest.raises(ArgumentError, match=r"path: .* has a character that no file name can"):
        write("a\0b")


@pytest.mark.parametrize(
    "read",
    [lambda path: open_file(path, InvalidFileError), gpunn.load_model, newest_checkpoint],
    ids=["any file", "model", "checkpoint"],
)
@pytest.mark.parametrize("path", [3, None, b"file", ["file"]])
def test_what_is_no_path(read, path):
    with pytest.raises(ArgumentTypeError, match="path: expected a file name; got"):
        read(path)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("none.csv", FileNotFoundError, "none.csv: there is no such file in .*; check the name"),
        ("no/a.csv", FileNotFoundError, "the folder .*no does not exist; check the"),
        ("link", FileNotFoundError, "link: is a link to a file that does not exist; fix the"),
        ("circle", OSError, "circle: is a link that leads back to itself"),
        (".", IsADirectoryError, "expected a file, got a folder; give the path of a file in it"),
        ("file/a.csv", NotADirectoryError, "a part of the path is a file, not a folder"),
        ("x" * 300, OSError, "the name is too long for this system; shorten it"),
    ],
)
def test_files_that_cannot_be_opened(tmp_path, name, error, said):
    """The message names the file and says what to do; the class is the built-in one too."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(error, match=said) as caught:
        load_csv(tmp_path / name, -1)
    assert isinstance(caught.value, FileAccessError)
    assert "Errno" not in str(caught.value)
    assert caught.value.errno
    assert caught.value.filename == str(tmp_path / name)


def test_a_file_that_may_not_be_opened(tmp_path, monkeypatch):
    refusing = Mock(side_effect=PermissionError(13, "Permission denied"))
    monkeypatch.setattr("gpunn.storage.reading.open", refusing, raising=False)
    with pytest.raises(PermissionError, match=r"a: permission denied; change the"):
        open_file(tmp_path / "a", InvalidFileError)


def test_a_size_and_a_line_within_the_bounds(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_whole(path, InvalidFileError, 5, "small") == b"12345"
    with pytest.raises(InvalidFileError, match="file: not small: larger than 4 bytes"):
        read_whole(path, InvalidFileError, 4, "small")
    line = b"x" * (MAX_LINE - 1) + b"\n"
    path.write_bytes(line + b"rest")
    assert list(read_lines(path, InvalidFileError)) == [line, b"rest"]
    path.write_bytes(b"x" + line)
    with pytest.raises(InvalidFileError, match="file, line 1: damaged"):
        list(read_lines(path, InvalidFileError))


def test_a_row_of_a_table_over_many_lines(tmp_path, monkeypatch):
    """Cells that span lines do not bypass the bound; many rows may be within it."""
    for module in ("lines", "csv_rows"):
        monkeypatch.setattr(f"gpunn.rows.{module}.MAX_LINE", 3000)
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n" + ('"' + "\n" * 97 + '",') * 40)
    with pytest.raises(InvalidFileError, match=r"a\.csv: a row has more than 3,000 ch"):
        load_csv(path, -1)
    path.write_text("1,2\n" * 3000)
    assert len(load_csv(path, -1).X) == 3000


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, b"[" * 100_000, "{", "\x00"])
def test_json_that_is_damaged_or_too_deep(text):
    with pytest.raises(ValueError, match=r"nested too deeply|Expecting"):
        parsed_json(text)

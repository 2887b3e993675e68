import json
import stat

import pytest

from gpunn.files import write_atomically, write_json


def test_replaces_a_file_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_ordinary_permissions(tmp_path):
    (tmp_path / "ordinary").write_text("")
    write_atomically(tmp_path / "a", b"")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, None]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"a": [1, None]}
    assert text.endswith("\n")


def test_json_has_no_infinity(tmp_path):
    write_json(tmp_path / "a.json", {"a": [float("nan"), (1.5, float("-inf"))], "b": "inf"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [None, [1.5, None]], "b": "inf"}


@pytest.mark.parametrize(
    ("path", "error", "problem"),
    [
        ("none/a.txt", FileNotFoundError, r"there is no such folder: '.*none'$"),
        (".", IsADirectoryError, "expected a file's name, not a folder"),
    ],
)
def test_what_cannot_be_a_file(tmp_path, path, error, problem):
    with pytest.raises(error, match=problem):
        write_atomically(tmp_path / path, b"")
    assert not list(tmp_path.iterdir())


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == "{}"

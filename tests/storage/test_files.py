import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import types
from contextlib import suppress

import pytest
from processes import run_python

import gpunn
from gpunn.errors import FileAccessError
from gpunn.storage import files


def test_json_has_no_infinity(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": [float("nan"), (1.5, float("-inf"))], "b": "inf"})
    assert json.loads(path.read_text()) == {"a": [None, [1.5, None]], "b": "inf"}
    assert path.read_text().endswith("\n")


@pytest.mark.parametrize(
    ("path", "error", "problem"),
    [
        ("none/a.txt", FileNotFoundError, r"none: there is no such folder; create it first"),
        (".", IsADirectoryError, "expected a file, got a folder; add a file name to the path"),
    ],
)
def test_what_cannot_be_a_file(tmp_path, path, error, problem):
    with pytest.raises(error, match=problem) as caught:
        files.write_atomically(tmp_path / path, b"")
    assert "Errno" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert path.read_text() == "{}"


def test_file_and_name_are_on_the_disk(tmp_path, monkeypatch):
    """First the content, then the name, then the folder that the name is in."""
    order = []
    sync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(
        "os.fsync", lambda d: order.append(stat.S_ISDIR(os.fstat(d).st_mode)) or sync(d)
    )
    monkeypatch.setattr(type(tmp_path), "replace", lambda *a: order.append("name") or replace(*a))
    files.write_atomically(tmp_path / "a", b"x")
    assert order == [False, "name", True]


def test_a_folder_that_cannot_be_synced(tmp_path, monkeypatch):
    sync = os.fsync

    def refusing(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not here")
        sync(descriptor)

    monkeypatch.setattr("os.fsync", refusing)
    files.write_atomically(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


@pytest.mark.parametrize("path", ["file", "file/sub", "/proc/no"])
def test_a_folder_that_cannot_be_made(tmp_path, path):
    (tmp_path / "file").touch()
    with pytest.raises(FileAccessError, match=f"{path}: .*; choose another path") as caught:
        files.make_folder(tmp_path / path)
    assert "Errno" not in str(caught.value)
    log = gpunn.callbacks.JSONLinesLog(tmp_path / path / "log.jsonl")
    with pytest.raises(FileAccessError, match="choose another path"):
        log.on_train_begin(None)


@pytest.mark.parametrize(
    ("pattern", "others"),
    [
        ((), [".a.txt", "a.0123abcd.part", ".a.txt.0123abc.part"]),
        ((r"\d\.txt",), [".a.txt.0123abcd.part"]),
    ],
)
def test_leftovers_are_removed_and_nothing_else(tmp_path, pattern, others):
    for name in (".1.txt.0123abcd.part", *others):
        (tmp_path / name).touch()
    files.remove_leftovers(tmp_path, *pattern)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_a_writer_removes_what_killed_ones_have_left(tmp_path):
    """Each of them as large as the file."""
    for number in range(4):
        (tmp_path / f".a.{number:08x}.part").write_bytes(b"torn")
    (tmp_path / ".b.00000000.part").write_bytes(b"another's")
    files.write_atomically(tmp_path / "a", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.00000000.part", "a"]


def test_what_is_being_written_is_no_leftover(tmp_path):
    with files.Replacement() as slow:
        slow.add(tmp_path / "a", b"slow")
        files.write_atomically(tmp_path / "a", b"quick")
        files.remove_leftovers(tmp_path)
        slow.commit()
    assert (tmp_path / "a").read_bytes() == b"slow"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("fails", [True, False])
def test_several_files_are_replaced_together(tmp_path, fails, monkeypatch):
    names = ("a", "b", "c")
    for name in names:
        (tmp_path / name).write_bytes(b"old")
    sync = os.fsync

    def full(descriptor):
        if fails and len(list(tmp_path.iterdir())) == 6:
            raise OSError(errno.ENOSPC, "full")
        sync(descriptor)

    monkeypatch.setattr("os.fsync", full)
    with suppress(OSError), files.Replacement() as new:
        for name in names:
            new.add(tmp_path / name, b"new")
        assert {(tmp_path / name).read_bytes() for name in names} == {b"old"}
        new.commit()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == dict.fromkeys(
        names, b"old" if fails else b"new"
    )


def test_what_a_file_holds(tmp_path):
    path = tmp_path / "a"
    assert not files.holds(path, b"")
    path.write_bytes(b"one two")
    assert files.holds(path, b"one", memoryview(b" two"))
    assert not files.holds(path, b"one", b" twa")
    assert not files.holds(path, b"one")
    assert not files.holds(path, b"one two", b" three")


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("a", True),
        ("b/../a", True),
        ("..", False),
        ("../other", False),
        ("/etc/passwd", False),
        ("link/a", False),
        ("new/folder/a", True),
    ],
)
def test_confinement(tmp_path, name, inside):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    assert (files.confined(folder, name) is not None) == inside


FULL = """\
import sys
from pathlib import Path
from gpunn.storage.files import write_atomically
path = Path(sys.argv[1], "a")
write_atomically(path, b"old")
try:
    write_atomically(path, bytes(10**6))
except OSError as error:
    print(error)
print(path.read_bytes(), [file.name for file in path.parent.iterdir()])
"""


def test_a_disk_that_is_really_full(tmp_path):
    """A file system of 400 kB, in a separate namespace that ends with the process."""
    mount = f"mount -t tmpfs -o size=400k none '{tmp_path}'"
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if subprocess.run([*command, mount], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    script = f"{mount} && '{sys.executable}' -c '{FULL}' '{tmp_path}'"
    result = subprocess.run([*command, script], capture_output=True, text=True, check=True)
    said, left = result.stdout.splitlines()
    assert "cannot be written: the disk is full (1,000,000 bytes are needed, " in said
    assert said.startswith(f"{tmp_path}/a: cannot be written: ")
    assert said.endswith("an existing file is unchanged")
    assert left == "b'old' ['a']"


LIMITED = """\
import resource, sys
sys.dont_write_bytecode = True  # which would be cut short, too
resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5))
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_file_that_must_not_grow_so_large(tmp_path):
    """A write that the system itself cuts short, wherever tests may mount nothing."""
    said, left = run_python("-c", LIMITED + FULL, tmp_path).stdout.splitlines()
    assert "cannot be written: File too large; an existing file is unchanged" in said
    assert left == "b'old' ['a']"


def test_append(tmp_path):
    files.append(tmp_path / "a.txt", "one\n")
    files.append(tmp_path / "a.txt", "zwölf\n")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "one\nzwölf\n"


def test_append_to_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*none no longer exists"):
        files.append(tmp_path / "none" / "a.txt", "one\n")


APPENDING = """\
import resource, sys
from gpunn.storage.files import append
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    for line in sys.argv[2:]:
        append(sys.argv[1], line + "\\n")
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("lines", "left"), [(["four", "many lines"], "four\n"), (["many lines"], "")]
)
def test_append_where_there_is_no_room(tmp_path, lines, left):
    """Half of a line is not left there."""
    path = tmp_path / "a.txt"
    said = run_python("-c", APPENDING, path, *lines)
    assert "cannot be written: File too large; an existing file is unchanged" in said.stdout
    assert str(path) in said.stdout
    assert path.read_text() == left


def test_a_lock_is_one_process_s(tmp_path):
    first = files.FolderLock(tmp_path)
    with pytest.raises(BlockingIOError):
        files.FolderLock(tmp_path)
    first.release()
    second = files.FolderLock(tmp_path)
    first.release()
    with pytest.raises(BlockingIOError):
        files.FolderLock(tmp_path)
    del second
    files.FolderLock(tmp_path).release()


def test_who_looks_for_a_moment_keeps_nobody_out(tmp_path, monkeypatch):
    looking = os.open(tmp_path, os.O_RDONLY)
    assert files.lock(looking, shared=True)
    assert not files.is_locked(tmp_path)  # by others who look
    pause = types.SimpleNamespace(sleep=lambda seconds: os.close(looking))
    monkeypatch.setattr("gpunn.storage.files.time", pause)
    held = files.FolderLock(tmp_path)
    assert files.is_locked(tmp_path)
    held.release()
    assert not files.is_locked(tmp_path)

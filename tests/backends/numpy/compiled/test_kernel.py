"""What is kept of compiled code between processes."""

import errno
import logging
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

import gpunn
from gpunn.backends.numpy.compiled import announcement, cache

FILL = """
import logging
import numpy as np
logging.basicConfig(level="INFO", format="%(message)s")
from gpunn.backends.numpy.compiled.kernels import counters
from gpunn.backends.numpy.compiled.backend import CompiledBackend
backend, out = CompiledBackend(1), np.zeros(4)
backend.recorded(lambda: (backend.fill(out, 2.0), backend.accumulate(out, out)))(1)
assert (out == 4).all(), out
"""

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs the owners and modes of POSIX")


def run(folder, script=FILL, cwd=None):
    """Run a script with its cache in this folder; return what it logs, less what it compiles."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, cache.VARIABLE: str(folder)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder in which the code of a few kernels is kept."""
    folder = tmp_path_factory.mktemp("cache")
    assert "Compiling CPU kernels, once on this machine" in run(folder)
    return folder


@pytest.fixture
def folder(filled, tmp_path):
    """A copy of it, which a test may damage."""
    return shutil.copytree(filled, tmp_path / "cache")


def kernels(folder):
    return sorted(folder.glob("kernels/*/*.kernel"))


def test_a_second_process_compiles_nothing(folder):
    before = [file.stat().st_mtime_ns for file in kernels(folder)]
    assert before
    assert run(folder) == ""
    assert [file.stat().st_mtime_ns for file in kernels(folder)] == before


def emptied(content):
    return b""


def cut(content):
    return content[: len(content) // 2]


def flipped(content):
    return content[:-100] + bytes([content[-100] ^ 8]) + content[-99:]


def garbage(content):
    return b"gpunn kernel 1\n" + bytes(range(256)) * 10


@pytest.mark.parametrize(
    "damage",
    [flipped, *(pytest.param(each, marks=pytest.mark.full) for each in (emptied, cut, garbage))],
)
def test_damaged_code_is_said_and_compiled_anew(folder, damage):
    whole = {file: file.read_bytes() for file in kernels(folder)}
    for file, content in whole.items():
        file.write_bytes(damage(content))
    said = run(folder)
    assert "compiling anew" in said
    assert any(str(file) in said for file in whole)
    assert run(folder) == ""


@pytest.mark.full
def test_swapped_code_is_compiled_anew(folder):
    """Each file is whole, and none is the one that its name says."""
    files = kernels(folder)
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, [*contents[1:], contents[0]], strict=True):
        file.write_bytes(content)
    assert "it is damaged, or holds another function" in run(folder)
    assert run(folder) == ""


@pytest.mark.full
def test_what_stands_in_place_of_code_is_not_read(folder):
    for file in kernels(folder):
        file.unlink()
        if hasattr(os, "mkfifo"):
            os.mkfifo(file)
        else:
            file.mkdir()
    assert "compiling anew" in run(folder)


def test_code_compiled_from_other_sources_is_not_used(folder, tmp_path):
    package = tmp_path / "gpunn"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(gpunn.__file__).parent, package, ignore=ignored)
    assert run(folder, cwd=tmp_path) == ""
    with open(package / "backends/numpy/compiled/kernels/panels.py", "a", encoding="utf-8") as file:
        file.write("# another line\n")
    assert "Compiling" in run(folder, cwd=tmp_path)
    assert run(folder) == ""  # nor is what is there taken from others


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A process that has not looked for its cache yet, which is to be in a new folder."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    cache.cache_folder.cache_clear()
    yield tmp_path / "cache"
    cache.cache_folder.cache_clear()


@posix_only
def test_the_folder_is_the_users_alone(fresh):
    own = cache.cache_folder()
    assert own.parent == fresh / "kernels"
    for folder in (own, own.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert cache.describe_cache() == {"folder": str(own), "functions": 0}


@posix_only
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_no_code_is_read_from_where_others_can_write(fresh, caplog, mode):
    (fresh / "kernels").mkdir(parents=True)
    (fresh / "kernels").chmod(mode)
    assert cache.cache_folder() is None
    assert "others can write to" in caplog.text
    assert "GPUNN_CACHE_DIR" in caplog.text
    assert cache.describe_cache() == {"folder": None, "functions": 0}


@posix_only
def test_no_code_is_read_from_a_folder_of_another_user(fresh, caplog, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert cache.cache_folder() is None
    assert "belongs to another user" in caplog.text


@posix_only
def test_a_link_to_a_folder_is_not_followed(fresh, tmp_path, caplog):
    fresh.mkdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (fresh / "kernels").symlink_to(tmp_path / "elsewhere")
    assert cache.cache_folder() is None
    assert "is not a folder" in caplog.text


def test_without_a_place_each_process_compiles_its_own(tmp_path):
    (tmp_path / "file").write_text("")
    said = run(tmp_path / "file")
    assert "each process compiles its own" in said
    assert "a part of the path is a file, not a folder" in said
    assert "[Errno" not in said
    assert "Compiling CPU kernels, as in each process" in said
    assert "Compiled the CPU kernels in" in said


def test_code_is_read_from_where_nothing_can_be_written_any_more(fresh, monkeypatch, caplog):
    """As in a container whose image holds the code, and whose files are read-only."""
    own = cache.cache_folder()
    cache.cache_folder.cache_clear()

    def refuse(path, *_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "utime", refuse)
    assert cache.cache_folder() == own
    assert not caplog.records


def test_a_folder_may_be_named_from_where_the_process_is(fresh, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(cache.VARIABLE, "here")
    own = cache.cache_folder()
    monkeypatch.chdir("/")
    assert own.parent == tmp_path / "here" / "kernels"
    assert own.is_dir()


def test_the_code_of_old_builds_is_removed(fresh):
    kernels = fresh / "kernels"
    kernels.mkdir(parents=True, mode=0o700)
    for age in range(8):
        (kernels / f"{age:016x}").mkdir()
        os.utime(kernels / f"{age:016x}", (1e9 - age, 1e9 - age))
    (kernels / "of somebody else").mkdir()
    own = cache.cache_folder()
    left = {folder.name for folder in kernels.iterdir()}
    assert left == {own.name, "of somebody else", *(f"{age:016x}" for age in range(cache.KEPT))}


# ------------------------------------------------------------------------- what is said of it


def test_compilation_is_announced_once_for_all_of_a_program(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "gpunn")
    monkeypatch.setattr(announcement.logger, "disabled", False)
    said = announcement.Announcement()
    said.begin(kept=True)  # not within a program
    with said.around():
        pass
    assert not caplog.records
    with said.around(), said.around():
        said.begin(kept=True)
        said.begin(kept=True)
    first, last = (record.getMessage() for record in caplog.records)
    assert first.startswith("gpunn: Compiling CPU kernels, once on this machine")
    assert last.startswith("gpunn: Compiled the CPU kernels in ")


def test_a_person_at_a_terminal_sees_it(monkeypatch, capsys, caplog):
    caplog.set_level(logging.INFO, "gpunn")
    monkeypatch.setattr(announcement.logger, "disabled", False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    said = announcement.Announcement()
    with said.around():
        said.begin(kept=True)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("Compiling CPU kernels, once on this machine")
    assert last.startswith("Compiled the CPU kernels in ")
    assert not caplog.records

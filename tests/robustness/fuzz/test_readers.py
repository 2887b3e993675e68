"""Every reader answers broken files with an object or an InvalidFileError, and takes little memory.

A small version of `python -m tests.robustness.fuzz`: docs/explanation/reliability.md has figures.
"""

import copy
import functools
import json
import random

import pytest
from robustness.fuzz import mutate, readers
from robustness.fuzz.__main__ import main

ALLOWED = {"idx": 8, "npy": 8, "npz": 16, "csv": 128, "table": 128, "toml": 512, "json": 64}
ALLOWED |= {"model": 128, "schema": 128, "checkpoint": 128, "log": 64, "state_dict": 64}
ALLOWED |= {"history": 64, "environment": 64, "evaluation": 64, "metadata": 128, "report": 512}
ALLOWED |= {"trials": 256}
"""Times a file's size that reading it may take, beside a mebibyte."""

EXPANDED = 2**24 + 2**23
"""What a compressed file may take in any case: 16 MiB, and what reading them needs."""

READERS = readers.READERS


@functools.cache
def reader_of(name):
    """Return a reader and its files, which take long to make."""
    return READERS[name]()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def check(name, content, folder):
    reader = reader_of(name)
    path = folder / f"{name}{reader.suffix}"
    path.write_bytes(content)
    found, peak = readers.measured(reader, path)
    compressed = b"\x1f\x8b" in content[:2] or b"PK" in content[:2]
    allowed = max(reader.floor + ALLOWED[name] * len(content), EXPANDED if compressed else 0)
    assert peak <= allowed, f"{peak:,} bytes for a file of {len(content):,}"
    return found


@pytest.mark.parametrize("name", READERS)
def test_good_files_are_read(name, folder):
    for content in reader_of(name).good:
        path = folder / f"{name}{reader_of(name).suffix}"
        path.write_bytes(content)
        if name != "csv" or b"NA" not in content:
            assert readers.verdict(reader_of(name), path) == "valid"


def test_breaking_changes_nothing_but_the_copy():
    """A value put into one file must not come back, with what was done to it, in another."""
    rng = random.Random(0)
    good, values = {"a": [], "b": {}}, copy.deepcopy(mutate.VALUES)
    for _ in range(3000):
        mutate.mutated_json(good, rng)
    assert good == {"a": [], "b": {}}
    assert repr(mutate.VALUES) == repr(values)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("count", [30, pytest.param(600, marks=pytest.mark.full)])
def test_broken_files(name, count, folder):
    rng = random.Random(name)
    count = count // 4 if name == "report" else count
    found = {check(name, reader_of(name).broken(rng), folder) for _ in range(count)}
    assert "invalid" in found


LARGE = 110_000


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("large", [False, pytest.param(True, marks=pytest.mark.full)])
def test_greedy_files(name, large, folder):
    for content in reader_of(name).greedy.values():
        if (len(content) > LARGE) == large:
            check(name, content, folder)


def test_the_command(tmp_path, monkeypatch):
    figures = tmp_path / "figures.jsonl"
    monkeypatch.setattr("sys.argv", ["fuzz", "npy", "--files", "3", "--json", str(figures)])
    monkeypatch.setattr("resource.setrlimit", lambda *limits: None)  # of this process
    assert main() == 0
    assert json.loads(figures.read_text())["crashes"] == 0

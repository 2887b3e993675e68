"""What a run left behind, for tests of the command."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def history(run: Path) -> list[dict[str, float]]:
    return read_lines(run / "history.jsonl")


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@contextmanager
def edited(path: Path) -> Iterator[Any]:
    """Give what a file of JSON, or of lines of it, holds, and write what becomes of that."""
    is_lines = path.suffix == ".jsonl"
    content = read_lines(path) if is_lines else json.loads(path.read_text())
    yield content
    if is_lines:
        write_lines(path, content)
    else:
        path.write_text(json.dumps(content))


def without_times(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    timings = {"seconds", "samples_per_second"}
    return [{key: row[key] for key in row.keys() - timings} for row in rows]


def weights(run: Path, name: str = "final") -> dict[str, np.ndarray]:
    return load_file(run / f"{name}.safetensors")


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").iterdir(), reverse=True)


def newest_checkpoint(run: Path) -> str:
    return f"checkpoints/{checkpoints(run)[0].stem}"


def same_weights(one: Path, other: Path, name: str = "final") -> bool:
    a, b = weights(one, name), weights(other, name)
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def evaluation(run: Path) -> dict:
    return json.loads((run / "evaluation.json").read_text())


def everything(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def assert_same_run(one: Path, other: Path) -> None:
    newest = newest_checkpoint(one)
    for name in ("final", "best", newest):
        assert same_weights(one, other, name)
    assert newest_checkpoint(other) == newest
    assert without_times(history(one)) == without_times(history(other))
    assert evaluation(one) == evaluation(other)

"""What a run left behind, for tests of the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


def history(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def without_times(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    timings = {"seconds", "samples_per_second"}
    return [{key: row[key] for key in row.keys() - timings} for row in rows]


def weights(run: Path, name: str = "final") -> dict[str, np.ndarray]:
    return load_file(run / f"{name}.safetensors")


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, the newest first."""
    return sorted((run / "checkpoints").iterdir(), reverse=True)


def newest_checkpoint(run: Path) -> str:
    """The newest one's name, for `weights`."""
    return f"checkpoints/{checkpoints(run)[0].stem}"


def same_weights(one: Path, other: Path, name: str = "final") -> bool:
    a, b = weights(one, name), weights(other, name)
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def evaluation(run: Path) -> dict:
    return json.loads((run / "evaluation.json").read_text())

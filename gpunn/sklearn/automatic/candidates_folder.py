"""The folder of candidates, from which a killed training resumes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from gpunn.differences import differences
from gpunn.errors import ArgumentError, DataFileError
from gpunn.load import load_model
from gpunn.schema import typed
from gpunn.sklearn.automatic.candidates import Candidate, Outcome
from gpunn.storage.files import (
    FolderLock,
    json_bytes,
    make_folder,
    remove_leftovers,
    write_atomically,
    write_json,
)
from gpunn.storage.reading import parsed_json, read_whole
from gpunn.tabular import combined, separated

__all__ = ["CandidatesFolder", "checksum"]

CONTENTS = "candidates.json"
"""Name of the file that describes the candidates. It is written after a candidate's other files."""

LARGEST = 2**36
"""Maximum size of a file in bytes."""


@dataclass(frozen=True)
class Contents:
    """The content of the file that describes the candidates."""

    settings: dict[str, Any]
    outcomes: list[Outcome]


class CandidatesFolder:
    """A folder with the networks and predictions of each candidate that has ended.

    Until this process leaves the context, no other process can train in the folder. Entering raises
    an ArgumentError if the folder belongs to other settings, or another process trains in it.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder = folder
        self._settings: dict[str, Any] = parsed_json(json_bytes(settings))
        self._outcomes = list[Outcome]()

    def __enter__(self) -> CandidatesFolder:
        make_folder(self._folder)
        try:
            self._lock = FolderLock(self._folder)
        except BlockingIOError:
            raise ArgumentError(
                f"folder: another process trains in {self._folder}; choose another folder"
            ) from None
        try:
            remove_leftovers(self._folder)
            self._check()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _check(self) -> None:
        """Read the description of the candidates, or write the first one."""
        path = self._folder / CONTENTS
        if not path.exists():
            if any(self._folder.iterdir()):
                raise ArgumentError(
                    f"folder: {self._folder} has other files; choose a new folder, or the folder "
                    "of an earlier call"
                )
            self._write()
            return
        try:
            text = read_whole(path, DataFileError, LARGEST, "a description of candidates")
            contents: Contents = typed(Contents, parsed_json(text), "candidates")
        except ValueError as error:
            raise DataFileError(f"{path}: damaged: {error}") from error
        for where, old, new in differences(contents.settings, self._settings, "settings"):
            raise ArgumentError(
                f"folder: the candidates in {self._folder} had other settings. {where} was "
                f"{old!r}, and is {new!r} now. Repeat the earlier call, or choose another folder"
            )
        self._outcomes = contents.outcomes

    def _write(self) -> None:
        outcomes = [asdict(outcome) for outcome in self._outcomes]
        write_json(self._folder / CONTENTS, {"settings": self._settings, "outcomes": outcomes})

    def read(self, backend: Any) -> list[Candidate]:
        """Return the candidates, in the order of their training."""
        return [self._read_one(outcome, backend) for outcome in self._outcomes]

    def _read_one(self, outcome: Outcome, backend: Any) -> Candidate:
        if outcome.error:
            return Candidate(outcome, [], np.empty(0))
        model, array = self._paths(outcome)
        content = read_whole(array, DataFileError, LARGEST, "an array of predictions")
        try:
            predictions: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise DataFileError(f"{array}: damaged: {error}") from error
        return Candidate(outcome, separated(load_model(model, backend)), predictions)

    def add(self, candidate: Candidate) -> None:
        """Store a candidate that has ended."""
        outcome = candidate.outcome
        if not outcome.error:
            model, array = self._paths(outcome)
            content = io.BytesIO()
            np.save(content, candidate.predictions, allow_pickle=False)
            write_atomically(array, content.getvalue())
            combined(candidate.networks).save(model)
        self._outcomes.append(outcome)
        self._write()

    def _paths(self, outcome: Outcome) -> tuple[Path, Path]:
        """Return the files of a candidate's networks, and of its predictions."""
        stem = f"{outcome.family}_{outcome.number + 1}".lower()
        return self._folder / f"{stem}.safetensors", self._folder / f"{stem}.npy"


def checksum(arrays: Sequence[np.ndarray | None]) -> str:
    """Return a string that identifies arrays."""
    total = 0
    for array in arrays:
        if array is not None:
            total = crc32(np.ascontiguousarray(array).tobytes(), total)
    return f"{total:x}"

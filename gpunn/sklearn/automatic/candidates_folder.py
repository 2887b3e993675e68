"""The folder of candidates, from which a killed training resumes."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from gpunn.errors import DataFileError
from gpunn.load import load_model
from gpunn.schema import typed
from gpunn.sklearn.automatic.candidates import Candidate, Outcome
from gpunn.storage.files import write_atomically, write_json
from gpunn.storage.reading import read_whole
from gpunn.storage.training_folder import TrainingFolder
from gpunn.tabular import combined, separated

CONTENTS = "candidates.json"

ADDED = "schema", "scaling", "classes"
"""Settings that folders of earlier versions lack."""

LARGEST = 2**36


@dataclass(frozen=True)
class Contents:
    settings: dict[str, Any]
    outcomes: list[Outcome]


class CandidatesFolder(TrainingFolder):
    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        super().__init__(folder, CONTENTS, settings, "settings", "candidates")
        self._outcomes = list[Outcome]()

    def _read(self, description: Any) -> dict[str, Any]:
        contents: Contents = typed(Contents, description, "candidates")
        self._outcomes = contents.outcomes
        return {name: self._settings.get(name) for name in ADDED} | contents.settings

    def _write(self) -> None:
        outcomes = [asdict(outcome) for outcome in self._outcomes]
        write_json(self._file, {"settings": self._settings, "outcomes": outcomes})

    def read(self, backend: Any) -> list[Candidate]:
        return [self._read_one(outcome, backend) for outcome in self._outcomes]

    def _read_one(self, outcome: Outcome, backend: Any) -> Candidate:
        if outcome.error:
            return Candidate(outcome)
        model, array = self._paths(outcome)
        content = read_whole(array, DataFileError, LARGEST, "an array of predictions")
        with DataFileError.instead_of(ValueError, EOFError, prefix=f"{array}: damaged: "):
            predictions: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
        return Candidate(outcome, separated(load_model(model, backend)), predictions)

    def add(self, candidate: Candidate) -> None:
        outcome = candidate.outcome
        if not outcome.error:
            model, array = self._paths(outcome)
            content = io.BytesIO()
            np.save(content, candidate.predictions, allow_pickle=False)
            write_atomically(array, content.getvalue())
            combined(candidate.networks).save(model)
        self._outcomes = [each for each in self._outcomes if each.name != outcome.name]
        self._outcomes.append(outcome)
        self._write()

    def _paths(self, outcome: Outcome) -> tuple[Path, Path]:
        stem = f"{outcome.family}_{outcome.number + 1}".lower()
        return self._folder / f"{stem}.safetensors", self._folder / f"{stem}.npy"


def checksum(arrays: Sequence[np.ndarray | None]) -> str:
    total = 0
    for array in arrays:
        if array is not None:
            total = crc32(np.ascontiguousarray(array).tobytes(), total)
    return f"{total:x}"

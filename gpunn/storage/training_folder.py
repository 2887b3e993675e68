"""A folder that belongs to one training, so that the same call can resume it."""

from pathlib import Path
from typing import Any, Self

from gpunn.differences import differences
from gpunn.errors import ArgumentError, DataFileError
from gpunn.storage.files import FolderLock, json_bytes, make_folder, remove_leftovers, write_json
from gpunn.storage.reading import parsed_json, read_whole

LARGEST = 2**30


class TrainingFolder:
    """A folder that belongs to one training, with a JSON file that describes this training."""

    def __init__(
        self, folder: Path, file: str, settings: object, described: str, content: str
    ) -> None:
        self._folder, self._file = folder, folder / file
        self._settings: Any = parsed_json(json_bytes(settings))
        self._described, self._content = described, content

    def __enter__(self) -> Self:
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
        if not self._file.exists():
            if any(self._folder.iterdir()):
                raise ArgumentError(
                    f"folder: {self._folder} contains files, but no {self._file.name}; choose a "
                    "new folder, or the folder of an earlier call"
                )
            self._write()
            return
        with DataFileError.instead_of(ValueError, prefix=f"{self._file}: damaged: "):
            text = read_whole(self._file, DataFileError, LARGEST, "a description of a training run")
            earlier = self._read(parsed_json(text))
        for where, old, new in differences(earlier, self._settings, self._described):
            raise ArgumentError(
                f"folder: the {self._content} in {self._folder} had other settings. {where} was "
                f"{old!r}, and is {new!r} now. Repeat the earlier call, or choose another folder"
            )

    def _read(self, description: Any) -> Any:
        return description

    def _write(self) -> None:
        write_json(self._file, self._settings)

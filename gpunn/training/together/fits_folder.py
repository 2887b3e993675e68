"""The folder of networks that train together, from which they resume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpunn.differences import differences
from gpunn.errors import ArgumentError, DataFileError
from gpunn.storage.files import FolderLock, json_bytes, make_folder, remove_leftovers, write_json
from gpunn.storage.reading import parsed_json, read_whole
from gpunn.training.fit import Fit

__all__ = ["FitsFolder"]

FITS = "fits.json"
"""Name of the file that describes all fits."""

LARGEST = 2**30
"""Maximum size of this file in bytes."""


class FitsFolder:
    """A folder with one checkpoint per fit, and a description of the fits.

    Until this process leaves the context, no other process can train in the folder. Entering raises
    an ArgumentError if the folder belongs to other fits, or another process trains in it.
    """

    def __init__(self, folder: Path, fits: Sequence[Fit]) -> None:
        self.folder, self.fits = folder, fits
        self.paths = [folder / f"{index}.safetensors" for index in range(len(fits))]

    def __enter__(self) -> FitsFolder:
        make_folder(self.folder)
        try:
            self._lock = FolderLock(self.folder)
        except BlockingIOError:
            raise ArgumentError(
                f"folder: another process trains in {self.folder}; choose another folder"
            ) from None
        try:
            remove_leftovers(self.folder)
            self._check()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _check(self) -> None:
        """Write the description of the fits, or compare it with that in the folder."""
        path, settings = self.folder / FITS, [fit.session.settings() for fit in self.fits]
        if not path.exists():
            if any(self.folder.iterdir()):
                raise ArgumentError(
                    f"folder: {self.folder} has other files; choose a new folder, or "
                    "the folder of an earlier call"
                )
            write_json(path, settings)
            return
        try:
            earlier = parsed_json(read_whole(path, DataFileError, LARGEST, "a list of fits"))
        except ValueError as error:
            raise DataFileError(f"{path}: damaged: {error}") from error
        for where, old, new in differences(earlier, parsed_json(json_bytes(settings)), "fits"):
            raise ArgumentError(
                f"folder: the networks in {self.folder} had other settings. {where} was {old!r}, "
                f"and is {new!r} now. Repeat the earlier call, or choose another folder"
            )

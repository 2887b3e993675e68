"""The folder of networks that train together, from which they resume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpunn.storage.training_folder import TrainingFolder
from gpunn.training.fit import Fit

FITS = "fits.json"
"""Name of the file that describes all fits."""


class FitsFolder(TrainingFolder):
    """A folder with one checkpoint per fit, and a description of the fits."""

    def __init__(self, folder: Path, fits: Sequence[Fit]) -> None:
        settings = [fit.session.settings() for fit in fits]
        super().__init__(folder, FITS, settings, "fits", "networks")
        self.paths = [folder / f"{index}.safetensors" for index in range(len(fits))]

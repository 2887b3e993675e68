"""Series of files with numbers in their names, such as "checkpoints/{epoch}.safetensors"."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from pathlib import Path

from gpunn.storage.files import remove, remove_leftovers

NUMBERS = ("epoch", "updates")
"""Placeholders of a template."""


class NumberedFiles:
    """Files whose paths match a template with the placeholders "{epoch}" and "{updates}"."""

    def __init__(self, template: str | Path) -> None:
        self.template = str(template)

    def path(self, epoch: int, updates: int) -> Path:
        """Return the path of the file with the given numbers of epochs and updates."""
        return Path(filled(self.template, {"epoch": str(epoch), "updates": str(updates)}))

    def remove_oldest(self, newest: Path, keep: int) -> None:
        """Remove files next to `newest`, except it and the `keep` ones with the largest numbers."""
        files = [(re.fullmatch(self._pattern, file.name), file) for file in newest.parent.iterdir()]
        numbered = [([int(n) for n in match.groups()], file) for match, file in files if match]
        for _, file in sorted(numbered)[:-keep]:
            if file != newest:  # files of a longer training may have larger numbers
                remove(file)

    def remove_leftovers(self) -> None:
        """Remove the temporary files that killed writers of these files have left."""
        folders = filled(glob.escape(str(Path(self.template).parent)), dict.fromkeys(NUMBERS, "*"))
        for folder in glob.glob(folders):  # noqa: PTH207  whose pattern must not be absolute
            if Path(folder).is_dir():
                remove_leftovers(Path(folder), self._pattern)

    @property
    def _pattern(self) -> str:
        """A pattern that matches the file names; its groups are the numbers."""
        name = re.escape(Path(self.template).name)
        return filled(name, dict.fromkeys(NUMBERS, r"(\d+)"), placeholder=r"\{{{}\}}")


def filled(text: str, values: Mapping[str, str], placeholder: str = "{{{}}}") -> str:
    """Return text with its placeholders replaced by values."""
    for name, value in values.items():
        text = text.replace(placeholder.format(name), value)
    return text

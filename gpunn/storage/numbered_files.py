"""Files of one series, numbered in their names, such as "checkpoints/{epoch}.safetensors"."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from pathlib import Path

from gpunn.storage.files import remove, remove_leftovers

__all__ = ["NumberedFiles"]

NUMBERS = ("epoch", "updates")
"""Placeholders of a template."""


class NumberedFiles:
    """The files of a template, a path in which "{epoch}" and "{updates}" stand for numbers."""

    def __init__(self, template: str | Path) -> None:
        self.template = str(template)

    def path(self, epoch: int, updates: int) -> Path:
        """Return the path of the file with these numbers."""
        return Path(filled(self.template, {"epoch": str(epoch), "updates": str(updates)}))

    def remove_oldest(self, newest: Path, keep: int) -> None:
        """Remove all files beside `newest` but the `keep` with the largest numbers, and itself."""
        found = [(re.fullmatch(self._pattern, file.name), file) for file in newest.parent.iterdir()]
        numbered = [([int(n) for n in match.groups()], file) for match, file in found if match]
        for _, file in sorted(numbered)[:-keep]:
            if file != newest:  # beside files of a longer training its numbers are not the largest
                remove(file)

    def remove_leftovers(self) -> None:
        """Remove the temporary files of such files whose writers were killed."""
        folders = filled(glob.escape(str(Path(self.template).parent)), dict.fromkeys(NUMBERS, "*"))
        for folder in glob.glob(folders):  # noqa: PTH207  whose pattern must not be absolute
            if Path(folder).is_dir():
                remove_leftovers(Path(folder), self._pattern)

    @property
    def _pattern(self) -> str:
        """A pattern of the files' names, with the numbers as groups."""
        name = re.escape(Path(self.template).name)
        return filled(name, dict.fromkeys(NUMBERS, r"(\d+)"), placeholder=r"\{{{}\}}")


def filled(text: str, values: Mapping[str, str], placeholder: str = "{{{}}}") -> str:
    """Return a text with values in place of its placeholders."""
    for name, value in values.items():
        text = text.replace(placeholder.format(name), value)
    return text

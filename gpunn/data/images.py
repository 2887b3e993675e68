"""Loader for images: a folder with a subfolder of files for each class."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpunn.data.image_files import read_images
from gpunn.errors import DataFileError, suggest
from gpunn.meaning import plural
from gpunn.storage.files import confined
from gpunn.storage.reading import checked_path

LOG = logging.getLogger("gpunn")

SUFFIXES: tuple[str, ...] = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm")
SUFFIXES += (".tif", ".tiff", ".webp")

SPLITS = {"train": "training", "val": "validation", "valid": "validation", "testing": "test"}
SPLITS |= {name: name for name in ("training", "validation", "test")}
"""Maps names of folders that are splits, in lower case, to the splits."""


def load_images(
    folder: str | os.PathLike[str], size: int | Sequence[int] | None = None, color: str = "auto"
) -> tuple[np.ndarray, np.ndarray, list[str], list[Path]]:
    """Load a folder of images, in which each subfolder has the images of one class.

    The name of a subfolder is the name of its class; deeper subfolders belong to the same class.
    Files are BMP, GIF, JPEG, PNG, PPM, TIFF or WebP, sorted by name. Hidden files are ignored
    silently; files of other formats are ignored with a warning. Images are rotated as their EXIF
    data requires. Transparent pixels become white, 16 bits become 8, and only the first frame of an
    animation is read. This function needs the `images` extra.

    Parameters
    ----------
    folder : path-like
        The folder.
    size : int, tuple of (height, width), or None
        The size to which files are resized. None means the most common size of the files, reduced
        in proportion if a side is longer than 64 pixels.
    color : {"auto", "gray", "rgb", "color"}
        With "gray", images have one channel; with "rgb", three. With "color", images also have
        three channels, but gray files raise an error. The default "auto" means "gray" if all files
        are gray, "color" if no file is gray, and otherwise "rgb".

    Returns
    -------
    X : uint8 array, shape (rows, height, width, channels)
        The images, with one channel (gray) or three (red, green, blue).
    y : int64 array, shape (rows,)
        The index of each image's class.
    classes : list of str
        The class names, sorted.
    paths : list of Path
        The file of each image.

    Raises
    ------
    DataFileError
        If files are damaged, have more than 100 million pixels, or are links out of the folder; the
        message lists up to ten files. If there are fewer than two classes, or a class has no files.
    ArgumentError
        If an argument is invalid.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> for name in ("dark", "light"):
    ...     Path("photos", name).mkdir(parents=True)
    ...     Image.new("L", (8, 6), 9 if name == "dark" else 200).save(f"photos/{name}/1.png")
    >>> X, y, classes, paths = gpunn.data.load_images("photos")
    >>> X.shape, y.tolist(), classes
    ((2, 6, 8, 1), [0, 1], ['dark', 'light'])
    """
    root = Path(checked_path(folder, "folder"))
    if root not in (splits := split_folders(root)).values():
        raise DataFileError(
            f"{root}: has a folder for each split; load one of them, such as {splits['training']}"
        )
    paths, y, classes = files_by_class(root)
    X, _ = read_images(paths, size, color)
    return X, y, classes, paths


def files_by_class(
    root: Path, classes: Sequence[str] | None = None
) -> tuple[list[Path], np.ndarray, list[str]]:
    names = class_names(root, 2 if classes is None else 1)
    classes = names if classes is None else classes
    for name in names:
        if name not in classes:
            raise DataFileError(
                f"{root / name}: {name!r} is not a class of the training data; "
                f"{suggest(name, classes)}"
            )
    if loose := [path for path in entries(root, root) if is_image(path) and not path.is_dir()]:
        ignored = plural(len(loose), "image")
        LOG.warning("%s: ignored %s outside of the subfolders, such as %s", root, ignored, loose[0])
    files = [image_files(root / name, root) for name in names]
    indices = np.array([classes.index(name) for name in names], np.int64)
    y = np.repeat(indices, [len(each) for each in files])
    return [path for each in files for path in each], y, list(classes)


def class_names(folder: Path, at_least: int = 2) -> list[str]:
    names = subfolders(folder)
    if len(names) < at_least:
        raise DataFileError(
            f"{folder}: expected at least {plural(at_least, 'subfolder')} of images, one for each "
            f"class; got {f'only {names[0]!r}' if names else 'none'}"
        )
    return names


def subfolders(folder: Path) -> list[str]:
    # The folder of runs, which `gpunn train .` writes, is not a class.
    folders = [path for path in entries(folder, folder) if path.is_dir()]
    return [
        path.name
        for path in folders
        if is_image_folder(path) or not any(path.glob("*/config.json"))
    ]


def split_folders(folder: Path) -> dict[str, Path]:
    # Raise a DataFileError if several folders are splits but others are not, if two folders are for
    # the same split, or if no folder is for training.
    names = subfolders(folder)
    known = [name for name in names if name.lower() in SPLITS]
    if not known or len(known) == 1 < len(names):
        return {"training": folder}
    found = {SPLITS[name.lower()]: folder / name for name in known}
    if len(found) < len(names) or "training" not in found:
        raise DataFileError(
            f"{folder}: expected one folder for each split: 'train', and optionally 'validation' "
            f"and 'test'; got {', '.join(map(repr, names))}"
        )
    return found


def is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def is_image_folder(folder: Path) -> bool:
    if not folder.is_dir() or (folder / "config.json").exists():
        return False
    return any(is_image(path) for pattern in ("*", "*/*", "*/*/*") for path in folder.glob(pattern))


def entries(folder: Path, root: Path) -> list[Path]:
    # Raise a DataFileError if a name is not UTF-8, or if a symbolic link leads to a folder or out
    # of the folder `root`.
    if not folder.is_dir():
        raise DataFileError(f"{folder}: expected a folder of images; there is no such folder")
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in found:
        if path.is_symlink() and (path.is_dir() or confined(root, path.relative_to(root)) is None):
            raise DataFileError(
                f"{path}: is a symbolic link {'to a folder' if path.is_dir() else f'out of {root}'}"
                "; copy its target instead"
            )
        check_name(path)
    return found


def check_name(path: Path) -> None:
    # Predictions and runs contain the name, so it must be UTF-8.
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataFileError(f"{path}: the name is not UTF-8; rename it") from None


def image_files(folder: Path, root: Path | None = None) -> list[Path]:
    files: list[Path] = []
    folders = [folder]
    for each in folders:  # the loop extends this list
        for path in entries(each, root or folder):
            (folders if path.is_dir() else files).append(path)
    images = sorted(path for path in files if is_image(path))
    if others := [path for path in files if not is_image(path)]:
        ignored = plural(len(others), "non-image file")
        LOG.warning("%s: ignored %s, such as %s", folder, ignored, others[0])
    if not images:
        raise DataFileError(f"{folder}: contains no images; gpunn reads {', '.join(SUFFIXES)}")
    return images

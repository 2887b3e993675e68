"""Reads image files with Pillow, as arrays of the same size, either all gray or all in color."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.configurable import check_choice, check_integers
from gpunn.errors import ArgumentError, DataFileError
from gpunn.optional import install_command, require
from gpunn.storage.reading import open_file

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The formats that are read. For some other formats, Pillow would start other programs."""

MAX_PIXELS = 100_000_000
"""Maximum number of pixels of a file, since a small file can take any amount of memory."""

LONGEST_SIDE = 64
"""If the user sets no size, images have at most this height and width, so that training is fast."""

SHOWN = 10

ORIENTATION = 0x0112


def read_images(
    paths: Sequence[Path], size: int | Sequence[int] | None = None, color: str = "auto"
) -> tuple[np.ndarray, str]:
    check_choice("color", color, ("auto", "gray", "rgb", "color"))
    if size is not None:
        size = check_integers("size", [size, size] if isinstance(size, int) else size)
        if len(size) != 2:
            raise ArgumentError(f"size: expected an integer or (height, width); got {size!r}")
    shapes, are_gray = (
        zip(*headers(paths), strict=True) if size is None or color == "auto" else ((), ())
    )
    if size is None:
        ((common, _),) = Counter(shapes).most_common(1)
        scale = min(1.0, LONGEST_SIDE / max(common))
        size = [max(1, round(side * scale)) for side in common]
    if color == "auto":
        color = "gray" if all(are_gray) else "rgb" if any(are_gray) else "color"
    shape = (len(paths), *size, 1 if color == "gray" else 3)
    try:
        X = np.empty(shape, np.uint8)
    except (MemoryError, ValueError):  # NumPy cannot describe very large shapes
        raise ArgumentError(
            f"size: {shape[0]:,} images of {size[0]:,} by {size[1]:,} pixels do not fit into "
            "memory; use a smaller size"
        ) from None
    problems = []
    for row, path in enumerate(paths):
        try:
            with opened(path) as image:
                X[row] = pixels(path, image, size, color).reshape(X.shape[1:])
        except (DataFileError, OSError) as error:
            problems.append(str(error))
    if problems:
        more = f"\n  and {len(problems) - SHOWN:,} more files" if len(problems) > SHOWN else ""
        raise DataFileError("\n  ".join(problems[:SHOWN]) + more)
    return X, color


def headers(paths: Sequence[Path]) -> list[tuple[tuple[int, int], bool]]:
    found = []
    for path in paths:
        try:
            with opened(path) as image:
                width, height = image.size
                turned = image.getexif().get(ORIENTATION, 1) > 4
                found.append(((width, height) if turned else (height, width), is_gray(image)))
        except (DataFileError, OSError):  # `read_images` reports the error
            continue
    return found or [((1, 1), False)]


def is_gray(image: Any) -> bool:
    return image.mode in ("1", "L", "LA", "La", "I") or image.mode.startswith("I;")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    pillow = require("PIL.Image", "reading image files", install_command("images"))
    with open_file(path, DataFileError) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow also warns of harmless damage
        try:
            with pillow.open(file, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise pillow.DecompressionBombError
                yield image
        except (DataFileError, MemoryError):
            raise
        except pillow.UnidentifiedImageError as error:
            raise DataFileError(
                f"{path}: expected an image in one of the formats {', '.join(FORMATS)}; this file "
                "has another format, or is damaged"
            ) from error
        except pillow.DecompressionBombError as error:
            raise DataFileError(
                f"{path}: has more than {MAX_PIXELS:,} pixels; make the image smaller"
            ) from error
        except Exception as error:  # Pillow's readers raise errors of a dozen types
            raise DataFileError(f"{path}: the image is damaged ({error})") from error


def convert_transparent_color(image: Any) -> None:
    """Convert a PNG file's transparent color to 8 bits.

    Pillow converts the pixels to 8 bits, but does not convert this color.
    """
    color = image.info.get("transparency")
    if image.format == "PNG" and color is not None:
        raw = image.tile[0].args
        if raw in ("L;2", "L;4"):
            image.info["transparency"] = color * (85 if raw == "L;2" else 17)
        elif raw == "RGB;16B":
            image.info["transparency"] = tuple(value >> 8 for value in color)


def pixels(path: Path, image: Any, size: Sequence[int], color: str) -> np.ndarray:
    pillow, ops = require("PIL.Image", "", ""), require("PIL.ImageOps", "", "")
    height, width = size
    if image.mode in ("I", "F") and image.format not in ("PNG", "PPM"):
        raise DataFileError(f"{path}: has 32 bits per pixel; save the image with 8 or 16 bits")
    convert_transparent_color(image)
    image.draft(None, (2 * max(size), 2 * max(size)))  # a JPEG may be read at a smaller scale
    image = ops.exif_transpose(image)
    if color == "color" and is_gray(image):
        raise DataFileError(
            f"{path}: the image is gray, but the network was trained only on images in color; save "
            "the image in color"
        )
    if image.mode.startswith("I"):  # such images have 16 bits
        values, transparent = np.asarray(image), image.info.get("transparency")
        image = pillow.fromarray((values >> 8).astype(np.uint8))
        if transparent is not None:
            image.putalpha(pillow.fromarray(np.where(values == transparent, 0, 255).astype("u1")))
    if image.has_transparency_data:
        white = pillow.new("RGBA", image.size, "white")
        image = pillow.alpha_composite(white, image.convert("RGBA"))
    image = image.convert("L" if color == "gray" else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), pillow.Resampling.BILINEAR)
    return np.asarray(image)

"""Reader for IDX files, the format in which MNIST and its relatives are distributed."""

from __future__ import annotations

import gzip
import math
import os
import zlib

import numpy as np

from gpunn.data.arrays import ByteStream, check_expansion, read_items
from gpunn.errors import DataFileError
from gpunn.storage.reading import checked_path, open_file

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 64  # NumPy's own limit


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file, raw or compressed with gzip.

    Y. LeCun, C. Cortes and C. Burges described the format with MNIST. Compression is recognized
    from the first bytes of the file, not from its name.

    A forged header can't exhaust the memory. An array of more than 16 MiB may take at most 200
    times its compressed size.

    Parameters
    ----------
    path : path-like
        File to read.

    Returns
    -------
    array of the header's shape
        The array, of dtype uint8, int8, int16, int32, float32 or float64 in the machine's byte
        order.

    Raises
    ------
    DataFileError
        If the file is not an IDX file, is damaged, is shorter or longer than its header says, or is
        too large when decompressed.
    OSError
        If the file can't be opened.

    Examples
    --------
    The bytes of an array of two labels:

    >>> from pathlib import Path
    >>> written = Path("labels.idx").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    >>> gpunn.data.read_idx("labels.idx").tolist()
    [7, 9]
    """
    path = checked_path(path)
    with open_file(path, DataFileError) as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        size = os.fstat(file.fileno()).st_size
        if not compressed:
            return _parse(path, file, size, compressed=False)
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                return _parse(path, stream, size, compressed=True)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataFileError(
                f"{path}: the gzip stream is damaged ({error}); get the file again"
            ) from error


def _parse(path: str, stream: ByteStream, size: int, *, compressed: bool) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) < 4:
        raise DataFileError(f"{path}: expected an IDX header of 4 bytes, got {len(magic)} bytes")
    zeros, type_code, dimensions = magic[:2], magic[2], magic[3]
    if zeros != b"\0\0":
        raise DataFileError(
            f"{path}: not an IDX file: expected the bytes 00 00 at the start, got {zeros.hex(' ')}"
        )
    if type_code not in _DTYPES:
        known = ", ".join(f"0x{code:02x}" for code in _DTYPES)
        raise DataFileError(
            f"{path}: expected one of the type codes {known}, got 0x{type_code:02x}"
        )
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise DataFileError(f"{path}: expected 1 to {_MAX_DIMENSIONS} dimensions, got {dimensions}")
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataFileError(
            f"{path}: the header is too short: expected {4 * dimensions} bytes for the sizes of "
            f"the axes, 4 bytes each; got {len(sizes)} bytes"
        )

    dtype = np.dtype(_DTYPES[type_code])
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    expected, present = math.prod(shape) * dtype.itemsize, size - 4 - len(sizes)
    if compressed:
        check_expansion(path, size, expected)
    elif present != expected:
        raise DataFileError(
            f"{path}: expected {expected} bytes after the header, for shape {shape} of "
            f"{dtype.newbyteorder('=')}; got {present} bytes"
        )
    return read_items(path, stream, shape, dtype)

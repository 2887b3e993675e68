"""Loaders for NumPy's own files, NPY and NPZ, without pickle."""

from __future__ import annotations

import io
import math
import os
import warnings
import zipfile
from typing import Literal, Protocol

import numpy as np

from gpunn.errors import DataFileError, suggest
from gpunn.rows.lines import EXPANSION, FREE_BYTES
from gpunn.storage.reading import checked_path, open_file

_Order = Literal["C", "F"]
_ZIP_MAGIC = b"PK"
_MAX_HEADER_BYTES = 2**16
_CHUNK_BYTES = 2**18
_MAX_DIMENSIONS = 64  # NumPy's own limit
# For each version of the format: the bytes that store the header's length, and NumPy's parser.
_HEADER_FORMATS = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}


class ByteStream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def load_npy(path: str | os.PathLike[str], *, map_above: int = 256 * 2**20) -> np.ndarray:
    """Load an NPY file; a large array becomes a read-only memory map.

    Parameters
    ----------
    path : path-like
        File written by `numpy.save`.
    map_above : int
        An array with more bytes (by default, 256 MiB) is memory-mapped: the operating system then
        reads only the rows that are used.

    Returns
    -------
    array
        The array, in the machine's byte order unless it is memory-mapped.

    Raises
    ------
    DataFileError
        If the file is not an NPY file, holds Python objects, is damaged, or is shorter or longer
        than its header says.
    OSError
        If the file can't be opened.

    Examples
    --------
    >>> np.save("rows.npy", np.eye(2))
    >>> gpunn.data.load_npy("rows.npy").tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    path = checked_path(path)
    with open_file(path, DataFileError) as file:
        size = os.fstat(file.fileno()).st_size
        shape, order, dtype = _read_header(path, file)
        start = file.tell()
        expected = math.prod(shape) * dtype.itemsize
        if size - start != expected:
            raise DataFileError(
                f"{path}: expected {expected} bytes after the header, for shape {shape} of "
                f"{dtype}; got {size - start} bytes"
            )
        if expected <= map_above:
            return read_items(path, file, shape, dtype, order)
    mapped: np.ndarray = np.memmap(path, dtype, mode="r", offset=start, shape=shape, order=order)
    return mapped


def load_npz(
    path: str | os.PathLike[str], X: str = "X", y: str | None = "y"
) -> tuple[np.ndarray, np.ndarray | None]:
    """Load inputs and targets from an NPZ file.

    Parameters
    ----------
    path : path-like
        File written by `numpy.savez` or `numpy.savez_compressed`.
    X : str
        Name of the input array in the file.
    y : str or None
        Name of the array of targets, or None if there are no targets.

    Returns
    -------
    X : array
        The inputs, in the machine's byte order.
    y : array or None
        The targets, in the machine's byte order, or None if the argument `y` is None.

    Raises
    ------
    DataFileError
        If the file is not an NPZ file, is damaged, or lacks an array. The error is also raised if
        an array holds Python objects, or takes more than 16 MiB and more than 200 times its
        compressed size.
    OSError
        If the file can't be opened.

    Examples
    --------
    >>> np.savez("rows.npz", X=np.eye(2), y=np.array([0, 1]))
    >>> X, y = gpunn.data.load_npz("rows.npz")
    >>> X.shape, y.tolist()
    ((2, 2), [0, 1])
    """
    path = checked_path(path)
    with open_file(path, DataFileError) as file:
        if file.read(6) == np.lib.format.MAGIC_PREFIX:
            raise DataFileError(f"{path}: expected an NPZ file, got an NPY file; use load_npy")
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                return (
                    _read_member(path, archive, size, X),
                    None if y is None else _read_member(path, archive, size, y),
                )
        except (DataFileError, MemoryError):
            raise
        # zipfile raises a dozen types of error for damage, from struct.error to RuntimeError.
        except Exception as error:
            raise DataFileError(
                f"{path}: not a readable NPZ file ({error}); save it again with numpy.savez"
            ) from error


def _read_member(path: str, archive: zipfile.ZipFile, size: int, name: str) -> np.ndarray:
    members = {member.removesuffix(".npy"): member for member in archive.namelist()}
    if name not in members:
        raise DataFileError(f"{path}: has no array {name!r}: {suggest(name, members)}")
    location = f"{path}, array {name!r}"
    member = archive.getinfo(members[name])
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataFileError(f"{location}: unsupported compression; use numpy.savez_compressed")
    with archive.open(member) as stream:
        shape, order, dtype = _read_header(location, stream)
        # The compressed size in a forged archive may be wrong, but the file's size limits it.
        present = min(member.compress_size, size)
        check_expansion(location, present, math.prod(shape) * dtype.itemsize)
        return read_items(location, stream, shape, dtype, order)


def _read_header(location: str, stream: ByteStream) -> tuple[tuple[int, ...], _Order, np.dtype]:
    prefix = stream.read(8)
    if prefix[:2] == _ZIP_MAGIC:
        raise DataFileError(f"{location}: expected an NPY file, got an NPZ file; use load_npz")
    if len(prefix) < 8 or prefix[:6] != np.lib.format.MAGIC_PREFIX:
        raise DataFileError(
            f"{location}: expected NPY data, which begin with {np.lib.format.MAGIC_PREFIX!r} and a "
            f"version; got {prefix!r}. Save arrays with numpy.save"
        )
    version = (prefix[6], prefix[7])
    if version not in _HEADER_FORMATS:
        raise DataFileError(
            f"{location}: expected NPY version 1.0 or 2.0, got {version[0]}.{version[1]}"
        )
    width, parse = _HEADER_FORMATS[version]
    length = stream.read(width)
    # Limited, since reading would allocate the length that a forged header claims.
    header = stream.read(min(int.from_bytes(length, "little"), _MAX_HEADER_BYTES))
    try:
        with warnings.catch_warnings():  # NumPy warns of files from Python 2, which gpunn reads
            warnings.simplefilter("ignore", UserWarning)
            shape, fortran, dtype = parse(io.BytesIO(length + header))
    # The header is a Python literal, and its parser may raise any error.
    except Exception as error:
        raise DataFileError(f"{location}: the NPY header is damaged ({error})") from error
    if dtype.hasobject:
        raise DataFileError(
            f"{location}: holds Python objects (dtype {dtype}), which are never loaded, since "
            "loading could run code; save numbers with a numeric dtype, and text with "
            "array.astype(str)"
        )
    if len(shape) > _MAX_DIMENSIONS or any(isinstance(n, bool) or n < 0 for n in shape):
        raise DataFileError(f"{location}: the NPY header is damaged (shape {shape})")
    return shape, "F" if fortran else "C", dtype


def check_expansion(location: str, compressed: int, expanded: int) -> None:
    if expanded > max(FREE_BYTES, EXPANSION * compressed):
        announced = f"{expanded:,}" if expanded < 2**63 else "2**63 or more"
        raise DataFileError(
            f"{location}: {compressed:,} compressed bytes would expand to {announced} bytes, more "
            f"than {EXPANSION} times as many; if you trust the file, store it uncompressed"
        )


def read_items(
    location: str, stream: ByteStream, shape: tuple[int, ...], dtype: np.dtype, order: _Order = "C"
) -> np.ndarray:
    expected = math.prod(shape) * dtype.itemsize
    content = bytearray()  # grows as bytes arrive, since a forged header may claim any number
    while len(content) < expected:
        chunk = stream.read(min(_CHUNK_BYTES, expected - len(content)))
        if not chunk:
            break
        content += chunk
    # Reading to the end also makes gzip and zipfile compare their checksums.
    if len(content) < expected or stream.read(1):
        got = f"{len(content)} bytes" if len(content) < expected else "more"
        raise DataFileError(
            f"{location}: expected {expected} bytes after the header, for shape {shape} of "
            f"{dtype.newbyteorder('=')}; got {got}"
        )
    try:
        items = np.ndarray(shape, dtype, content, order=order)
    except ValueError as error:  # an array without items, whose sizes NumPy can't index
        raise DataFileError(f"{location}: shape {shape} is too large for an array") from error
    return items if dtype.isnative else items.astype(dtype.newbyteorder("="))

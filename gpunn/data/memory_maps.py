"""Rows of memory-mapped files, read without making the whole file resident in memory.

Reading scattered rows through a memory map makes many other rows resident, because the system loads
a block of the file around each page.
"""

import mmap
import os
import sys
from io import FileIO
from pathlib import Path

import numpy as np

from gpunn.errors import DataFileError, FileAccessError
from gpunn.storage.reading import explanation
from gpunn.typing import Array


def mapping_of(array: Array) -> mmap.mmap | None:
    # A copy-on-write map ("c") is treated as ordinary memory, because it may hold changes that
    # exist nowhere else.
    if not isinstance(array, np.memmap) or array.mode not in ("r", "r+", "w+"):
        return None
    base = array.base
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def release(array: Array) -> None:
    mapping = mapping_of(array)
    if sys.platform != "win32" and mapping is not None and hasattr(mapping, "madvise"):
        mapping.madvise(mmap.MADV_DONTNEED)


def check_whole(array: Array) -> None:
    # Reading a page that the file no longer has would end the process (SIGBUS).
    mapping = mapping_of(array)
    if mapping is None or array.filename is None:
        return
    try:
        size = Path(array.filename).stat().st_size
    except OSError:  # a removed file stays readable through its map
        return
    if mapped_from(array) + len(mapping) > size:
        raise DataFileError(shortened(array.filename))


def shortened(path: object) -> str:
    return (
        f"{path}: the file was truncated after it was memory-mapped; load it again, and don't "
        "change it during use"
    )


def reopened(path: str | os.PathLike[str]) -> FileIO:
    try:
        return FileIO(os.fspath(path))
    except OSError as error:
        raise FileAccessError(error.errno, explanation(error, path), path) from error


def rows_of(array: Array, chosen: slice | np.ndarray) -> np.ndarray:
    # If `chosen` is a slice, it must have no step. A DataFileError is raised if the file was
    # truncated. A FileAccessError is raised if the file can't be opened again.
    mapping = mapping_of(array)
    if mapping is None or not array[:1].flags.c_contiguous or array.filename is None:
        check_whole(array)
        return np.asarray(array[chosen])
    indices = range(*chosen.indices(array.shape[0])) if isinstance(chosen, slice) else chosen
    rows = np.empty((len(indices), *array.shape[1:]), array.dtype)
    if rows.nbytes == 0:
        return rows
    start, stride = file_offset(array, mapping), array.strides[0]
    # As uint8, since memoryview can't cast every dtype, such as those of another byte order.
    content = rows.reshape(-1).view(np.uint8).data
    row_bytes = rows.nbytes // len(rows)
    with reopened(array.filename) as file:
        if isinstance(chosen, slice) and stride == row_bytes:
            file.seek(start + indices[0] * stride)
            read_into(file, content)
            return rows
        for position, index in enumerate(indices):
            file.seek(start + int(index) * stride)
            read_into(file, content[position * row_bytes : (position + 1) * row_bytes])
    return rows


def read_into(file: FileIO, view: memoryview) -> None:
    while view:
        count = file.readinto(view)
        if not count:
            raise DataFileError(shortened(file.name))
        view = view[count:]


def file_offset(array: Array, mapping: mmap.mmap) -> int:
    beginning: int = np.frombuffer(mapping, np.uint8).ctypes.data
    return int(mapped_from(array) + array.ctypes.data - beginning)


def mapped_from(array: Array) -> int:
    return int(array.offset - array.offset % mmap.ALLOCATIONGRANULARITY)

"""Safetensors files with a checksum over every byte.

Only the checksum detects changed numbers, such as zeros that a crash left in place of data.
Safetensors itself checks, before it allocates memory, that the header is valid JSON and that the
declared arrays fill the file exactly.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gpunn.errors import ModelFileError
from gpunn.forks import IMPORTING
from gpunn.storage.reading import open_file

KEY = "sha256"
BLANK = "0" * 64
CHECKSUM = re.compile(rb'"sha256":"([0-9a-f]{64})"')
"""Matches the checksum in a header, but never within a JSON string, whose quotes are escaped."""

TYPES = {
    "b1": "BOOL",
    "u1": "U8",
    "i1": "I8",
    "i2": "I16",
    "u2": "U16",
    "f2": "F16",
    "i4": "I32",
    "u4": "U32",
    "f4": "F32",
    "f8": "F64",
    "i8": "I64",
    "u8": "U64",
}
"""Maps NumPy's types to safetensors' names; files contain arrays in the reverse order."""

ORDER = {kind: index for index, kind in enumerate(TYPES)}

LARGEST_HEADER = 100_000_000
"""Maximum size of a header in bytes. Safetensors has the same limit."""

CHUNK_BYTES = 1 << 16


def checksummed(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> list[bytes | memoryview]:
    """Return the content of a safetensors file, in chunks.

    The header contains the SHA-256 of the file, computed with 64 zeros in place of the checksum.
    """
    # The safetensors library would copy each array three times.
    header: dict[str, object] = {"__metadata__": {**metadata, KEY: BLANK}}
    chunks: list[bytes | memoryview] = []
    offset = 0
    for name in sorted(arrays, key=lambda name: (-ORDER[arrays[name].dtype.str[1:]], name)):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        header[name] = {
            "dtype": TYPES[array.dtype.str[1:]],
            "shape": list(arrays[name].shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
        chunks.append(array.reshape(-1).view(np.uint8).data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    length = len(text).to_bytes(8, "little")
    digest = hashlib.sha256(length + text)
    for chunk in chunks:
        digest.update(chunk)
    match = CHECKSUM.search(text)
    assert match is not None
    checksum = digest.hexdigest().encode()
    return [length, text[: match.start(1)], checksum, text[match.end(1) :], *chunks]


def read_safetensors(
    path: str | Path, *, verify: bool = False
) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    # Arrays of bfloat16, which NumPy lacks, become float32. Memory is allocated for the actual size
    # of the file, not for the declared size.
    with IMPORTING:
        from safetensors import SafetensorError, deserialize, safe_open

    try:
        with open_file(path, ModelFileError) as file:
            fault = checksum_fault(file, os.fstat(file.fileno()).st_size) if verify else ""
    except (FileNotFoundError, IsADirectoryError) as error:
        missing = "there is no such file; check the path"
        problem = "expected a file; this is a folder" if Path(path).is_dir() else missing
        raise ModelFileError(f"{path}: {problem}") from error
    try:
        # safetensors imports NumPy on its first use, behind a lock that a fork would leave locked.
        with IMPORTING, safe_open(path, framework="numpy") as opened:
            if fault:
                raise ModelFileError(f"{path}: {fault}")
            metadata = opened.metadata() or {}
            names = opened.keys()
            short = {name for name in names if opened.get_slice(name).get_dtype() == "BF16"}
            arrays = {name: opened.get_tensor(name) for name in names if name not in short}
        if short:
            held = deserialize(Path(path).read_bytes())  # type: ignore[no-untyped-call]
            arrays |= {name: lengthened(array) for name, array in held if name in short}
    except SafetensorError as error:
        raise ModelFileError(
            f"{path}: not a readable safetensors file: {error}. Check the path; if the file is "
            "damaged, copy or save it again"
        ) from error
    except (AttributeError, KeyError, TypeError) as error:  # such as float8
        raise ModelFileError(f"{path}: contains a type that NumPy lacks: {error}") from error
    except ValueError as error:
        raise ModelFileError(
            f"{path}: contains an array that NumPy does not support: {error}"
        ) from error
    for name, array in arrays.items():
        if array.dtype.str[1:] not in TYPES:  # another package has added the type to NumPy
            raise ModelFileError(
                f"{path}: array {name!r} has a type that NumPy lacks: {array.dtype}; save it as "
                "float32"
            )
    return metadata, arrays


def lengthened(array: Mapping[str, Any]) -> np.ndarray:
    """Return bfloat16 numbers as float32; a bfloat16 number is the upper half of a float32."""
    upper = np.frombuffer(array["data"], "<u2").astype(np.uint32)
    return (upper << 16).view(np.float32).reshape(array["shape"])


def checksum_fault(file: BinaryIO, size: int) -> str:
    length = file.read(8)
    header_bytes = int.from_bytes(length, "little")
    if len(length) < 8 or header_bytes > min(size - 8, LARGEST_HEADER):
        return (
            f"not a readable safetensors file: its {size} bytes contain no header. Check the path; "
            "if the file is damaged, copy or save it again"
        )
    header = file.read(header_bytes)
    match = CHECKSUM.search(header)
    if match is None:
        return "the checksum is missing; the file is damaged or was not written by gpunn"
    digest = hashlib.sha256(length)
    digest.update(header[: match.start(1)] + BLANK.encode() + header[match.end(1) :])
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    if digest.hexdigest().encode() != match[1]:
        return "the file is damaged: its checksum does not match its content"
    return ""

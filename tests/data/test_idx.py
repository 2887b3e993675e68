"""Reading IDX files: round trips, and all kinds of malformed files."""

import gzip
import re

import numpy as np
import pytest
from array_files import IDX_CODES
from array_files import idx_bytes as idx
from array_files import idx_header as header
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from memory import peak_below

from gpunn.data import read_idx
from gpunn.errors import DataError

MEGABYTE = 2**20
ENCODINGS = pytest.mark.parametrize(
    "encode", [bytes, gzip.compress], ids=["uncompressed", "compressed"]
)
reuse_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder, content):
    path = folder / "items.idx"
    path.write_bytes(content)
    return path


@ENCODINGS
@reuse_folder
@given(data=st.data())
def test_round_trip(tmp_path, encode, data):
    shapes = npst.array_shapes(max_dims=4, min_side=0, max_side=5)
    array = data.draw(npst.arrays(st.sampled_from(list(IDX_CODES)).map(np.dtype), shapes))

    result = read_idx(write(tmp_path, encode(idx(array))))

    assert result.dtype == array.dtype
    assert result.dtype.isnative
    assert result.flags.writeable
    assert result.shape == array.shape
    assert result.tobytes() == array.tobytes()


def test_body_longer_than_one_chunk(tmp_path):
    array = np.arange(600_000, dtype="i4").reshape(2, -1)
    np.testing.assert_array_equal(read_idx(write(tmp_path, idx(array))), array)


def test_compression_is_detected_from_the_content(tmp_path):
    array = np.arange(6, dtype="u1").reshape(2, 3)
    raw, compressed = tmp_path / "raw.gz", tmp_path / "compressed.idx"
    raw.write_bytes(idx(array))
    compressed.write_bytes(gzip.compress(idx(array)))
    np.testing.assert_array_equal(read_idx(raw), array)
    np.testing.assert_array_equal(read_idx(str(compressed)), array)


@ENCODINGS
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX header of 4 bytes, got 0 bytes"),
        (b"\0\0\x08", "expected an IDX header of 4 bytes, got 3 bytes"),
        (b"\x89PNG\r\n", "expected the bytes 00 00 at the start, got 89 50"),
        (b"\0\1\x08\1\0\0\0\0", "expected the bytes 00 00 at the start, got 00 01"),
        (header(0x0A, 1) + b"x", "expected one of the type codes 0x08, .*, 0x0e, got 0x0a"),
        (b"\0\0\x08\0x", "expected 1 to 64 dimensions, got 0"),
        (header(0x08, *[1] * 65) + b"x", "expected 1 to 64 dimensions, got 65"),
        (header(0x08, 2, 3)[:-1], "header is too short: expected 8 bytes .*; got 7 bytes"),
        (header(0x08, 2, 3), r"expected 6 bytes .* shape \(2, 3\) of uint8; got 0 bytes"),
        (header(0x08, 2, 3) + b"12345", "expected 6 bytes .*; got 5 bytes"),
        (header(0x0E, 1) + b"1234567", r"expected 8 bytes .* shape \(1,\) of float64; got 7 bytes"),
        (header(0x08, 2) + b"123", "expected 2 bytes .*; got (3 bytes|more)"),
        (header(0x08, 0) + b"1", r"expected 0 bytes .* shape \(0,\) .*; got (1 bytes|more)"),
        (header(0x08, 0, *[2**32 - 1] * 3), "is too large for an array"),
    ],
)
def test_malformed(tmp_path, encode, content, message):
    path = write(tmp_path, encode(content))
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + message):
        read_idx(path)


def damage(content, position):
    changed = bytearray(content)
    changed[position] ^= 0xFF
    return bytes(changed)


COMPRESSED = gzip.compress(idx(np.arange(1000, dtype="i2")))


@pytest.mark.parametrize(
    "content",
    [
        COMPRESSED[:2],
        COMPRESSED[:-1],
        COMPRESSED[: len(COMPRESSED) // 2],
        COMPRESSED + b"more",
        damage(COMPRESSED, 2),
        damage(COMPRESSED, 10),
        damage(COMPRESSED, -5),
        damage(COMPRESSED, -1),
    ],
    ids=["magic only", "cut by a byte", "half", "trailing", "method", "deflate", "crc", "length"],
)
def test_damaged_gzip(tmp_path, content):
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=re.escape(f"{path}: the gzip stream is damaged")):
        read_idx(path)


def test_a_wrong_size_is_refused_before_the_body_is_read(tmp_path):
    path = write(tmp_path, header(0x08, 9 * MEGABYTE) + bytes(8 * MEGABYTE))
    with (
        peak_below(MEGABYTE),
        pytest.raises(DataError, match=r"expected 9437184 bytes .*; got 8388608 bytes"),
    ):
        read_idx(path)


def test_gzip_bomb_is_not_unpacked(tmp_path):
    path = write(tmp_path, gzip.compress(header(0x08, 10) + bytes(64 * MEGABYTE)))
    with peak_below(2 * MEGABYTE), pytest.raises(DataError, match="got more"):
        read_idx(path)

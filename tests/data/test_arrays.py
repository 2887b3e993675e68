"""Loading NPY and NPZ files: round trips, memory maps, and files that must be refused."""

import re
import zipfile

import numpy as np
import pytest
from array_files import npy_bytes as npy
from array_files import npy_header
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from gpunn.data import load_npy, load_npz
from gpunn.errors import DataError, DataFileError

MEGABYTE = 2**20
DTYPES = ["?", "u1", "<i2", ">i4", "<i8", "<f4", ">f8", "<U3"]
reuse_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
matrices = npst.arrays(
    st.sampled_from(DTYPES).map(np.dtype),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


def forged(shape, descr="'<f8'"):
    return npy_header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n")


def write_npy(folder, content):
    path = folder / "X.npy"
    path.write_bytes(content)
    return path


def write_npz(folder, **members):
    path = folder / "set.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def load_any(path):
    return load_npz(path, y=None)[0] if path.suffix == ".npz" else load_npy(path)


@pytest.fixture(params=["npy", "npz"])
def write(request, tmp_path):
    if request.param == "npy":
        return lambda content: write_npy(tmp_path, content)
    return lambda content: write_npz(tmp_path, X=content)


def assert_same(result, array):
    assert result.dtype == array.dtype.newbyteorder("=")
    assert result.dtype.isnative
    assert result.shape == array.shape
    np.testing.assert_array_equal(result, array)


@reuse_folder
@given(array=matrices, fortran=st.booleans())
def test_npy_round_trip(tmp_path, array, fortran):
    array = np.asarray(array, order="F" if fortran else "C")
    result = load_npy(write_npy(tmp_path, npy(array)))
    assert_same(result, array)
    assert result.flags.writeable


@reuse_folder
@given(X=matrices, y=matrices, compressed=st.booleans())
def test_npz_round_trip(tmp_path, X, y, compressed):
    path = tmp_path / "set.npz"
    (np.savez_compressed if compressed else np.savez)(path, X=X, y=y, other=np.zeros(3))
    for result, array in zip(load_npz(path), (X, y), strict=True):
        assert_same(result, array)


def test_npz_names(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, images=np.arange(6).reshape(2, 3), labels=np.array([1, 0]))
    X, y = load_npz(path, X="images", y="labels")
    assert X.shape == (2, 3)
    assert y.tolist() == [1, 0]
    assert load_npz(path, "images", None)[1] is None
    with pytest.raises(DataError, match="has no array 'image': did you mean 'images'"):
        load_npz(path, "image", "labels")
    with pytest.raises(DataError, match="has no array 'y': valid: 'images', 'labels'"):
        load_npz(path, "images")


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_npy_is_mapped(tmp_path, order):
    array = np.asarray(np.arange(24.0).reshape(4, 6), order=order)
    path = write_npy(tmp_path, npy(array))
    in_memory, mapped = load_npy(path, map_above=192), load_npy(path, map_above=191)
    assert not isinstance(in_memory, np.memmap)
    assert isinstance(mapped, np.memmap)
    assert mapped.mode == "r"
    assert not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, array)


@pytest.mark.parametrize("dtype", [object, [("a", "O"), ("b", "f8")]], ids=["plain", "structured"])
def test_python_objects_are_refused(write, dtype):
    path = write(npy(np.zeros(2, dtype)))
    with pytest.raises(DataError, match=r"holds Python objects.*save numbers"):
        load_any(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected NPY data"),
        (b"1.0,2.0\n3.0,4.0\n", "expected NPY data"),
        (npy(np.zeros(3))[:7], "expected NPY data"),
        (npy(np.zeros(3))[:8], "header is damaged"),
        (npy(np.zeros(3))[:50], "header is damaged"),
        (npy(np.zeros(3))[:-1], r"expected 24 bytes .* for shape \(3,\) of float64; got 23 bytes"),
        (npy(np.zeros(3)) + b"1", r"expected 24 bytes .* got (25 bytes|more)"),
        (npy_header("", version=(9, 1)), "expected NPY version 1.0 or 2.0, got 9.1"),
        (npy_header("{'descr': '<f8'}\n"), "header is damaged"),
        (npy_header("__import__('os').abort()\n"), "header is damaged"),
        (npy_header("((((\n"), "header is damaged"),
        (forged("(-1,)"), "header is damaged"),
        (forged("(2.5,)"), "header is damaged"),
        (forged("(3,)", "'<q9'"), "header is damaged"),
        (forged(f"(0, {2**63}, {2**63})"), "header is damaged|too large for an array"),
    ],
)
def test_malformed(write, content, message):
    path = write(content)
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + message):
        load_any(path)


def test_checksum_is_compared(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, X=np.arange(1000))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"not a readable.*CRC"):
        load_npz(path, y=None)


def test_one_format_instead_of_the_other(tmp_path):
    with pytest.raises(DataError, match="got an NPZ file; use load_npz"):
        load_npy(write_npz(tmp_path, X=npy(np.zeros(3))))
    with pytest.raises(DataError, match="got an NPY file; use load_npy"):
        load_npz(write_npy(tmp_path, npy(np.zeros(3))))


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"neither"])
def test_not_an_npz_file(tmp_path, content):
    path = write_npy(tmp_path, content)
    with pytest.raises(DataError, match=re.escape(f"{path}: not a readable NPZ file")):
        load_npz(path)


@pytest.mark.parametrize("load", [load_npy, load_npz])
def test_missing_file(tmp_path, load):
    with pytest.raises(FileNotFoundError, match="none"):
        load(tmp_path / "none")


@pytest.mark.parametrize(
    ("items", "allowed"), [(2**24 - 1000, True), (2**24 + 1, False), (10**8, False)]
)
def test_compressed_arrays_may_not_become_too_large(tmp_path, items, allowed):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, X=np.zeros(items, np.uint8))
    if allowed:
        assert load_npz(path, y=None)[0].size == items
    else:
        with pytest.raises(DataFileError, match=r"array 'X': [\d,]+ compressed bytes would expand"):
            load_npz(path, y=None)


def test_a_forged_compressed_size_allows_no_larger_array(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, X=np.zeros(10**8, np.uint8))
    content = bytearray(path.read_bytes())
    size = content.rindex(b"PK\1\2") + 20  # in the archive's directory
    content[size : size + 4] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=r"array 'X': [\d,]+ compressed bytes would expand"):
        load_npz(path, y=None)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, method):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("X.npy", npy(np.zeros(3)))
    with pytest.raises(DataFileError, match="unsupported compression"):
        load_npz(path, y=None)


@pytest.mark.parametrize("shape", ["(True,)", "(2, False)", "(-1,)", str((1,) * 65)])
def test_impossible_shapes(tmp_path, shape):
    path = write_npy(tmp_path, forged(shape) + bytes(4))
    for map_above in (2**28, 0):
        with pytest.raises(DataFileError, match=r"X\.npy: "):
            load_npy(path, map_above=map_above)

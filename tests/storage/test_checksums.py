import hashlib
from functools import partial

import numpy as np
import pytest
from equality import assert_arrays
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors.numpy import load, save, save_file

import gpunn
from gpunn.errors import InvalidFileError, ModelFileError
from gpunn.storage.checksums import checksummed, read_safetensors
from gpunn.storage.files import write_atomically

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([7])}
TEXT = {"gpunn": '{"sha256":"' + "1" * 64 + '"}', "other": ""}
CONTENT = b"".join(checksummed(ARRAYS, TEXT))


def read(folder, content):
    path = folder / "file.safetensors"
    path.write_bytes(content)
    return read_safetensors(path, verify=True)


def test_round_trip(tmp_path):
    path = tmp_path / "file.safetensors"
    write_atomically(path, *checksummed(ARRAYS, TEXT))
    text, arrays = read_safetensors(path, verify=True)
    assert {name: text[name] for name in TEXT} == TEXT
    assert arrays.keys() == ARRAYS.keys()
    assert_arrays(arrays, ARRAYS)


def test_the_checksum_is_that_of_the_file_with_zeros_in_its_place():
    end = 8 + int.from_bytes(CONTENT[:8], "little")
    place = CONTENT.index(b'"sha256":"', 8, end) + 10
    given = CONTENT[place : place + 64]
    blank = CONTENT[:place] + b"0" * 64 + CONTENT[place + 64 :]
    assert hashlib.sha256(blank).hexdigest().encode() == given


@settings(max_examples=15)
@given(
    st.dictionaries(
        st.text(max_size=5),
        npst.arrays(
            st.sampled_from(["<f4", ">f8", "<i8", "u1", "?", "<f2", ">u2"]),
            npst.array_shapes(min_dims=0, min_side=0, max_side=3),
        ),
        max_size=5,
    )
)
def test_it_is_what_safetensors_writes_and_reads(arrays):
    arrays.pop("__metadata__", None)
    content = b"".join(checksummed(arrays, {"gpunn": "ü"}))
    native = {name: array.astype(array.dtype.newbyteorder("=")) for name, array in arrays.items()}
    assert_arrays(arrays, load(content))
    theirs = save(native, {"gpunn": "ü", "sha256": "0" * 64})
    assert content[body(content) :] == theirs[body(theirs) :]
    assert len(load(content)) == len(arrays)


def body(content):
    return 8 + int.from_bytes(content[:8], "little")


def test_arrays_that_are_not_in_row_major_order():
    array = np.arange(12.0).reshape(3, 4)
    for given_ in (array.T, array[::2, ::-1], np.asfortranarray(array)):
        found = load(b"".join(checksummed({"a": given_}, {})))["a"]
        np.testing.assert_array_equal(found, given_)


def test_no_arrays(tmp_path):
    assert read(tmp_path, b"".join(checksummed({}, {"gpunn": "x"})))[1] == {}


def test_a_changed_byte_is_noticed_wherever_it_is(tmp_path):
    for place in range(len(CONTENT)):
        for bit in (0, 7):
            changed = bytearray(CONTENT)
            changed[place] ^= 1 << bit
            with pytest.raises(ModelFileError, match=r"file\.safetensors: "):
                read(tmp_path, bytes(changed))


def test_a_torn_file_is_noticed_wherever_it_ends(tmp_path):
    for length in range(len(CONTENT)):
        with pytest.raises(ModelFileError, match=r"file\.safetensors: "):
            read(tmp_path, CONTENT[:length])
        with pytest.raises(ModelFileError, match=r"file\.safetensors: "):
            read(tmp_path, CONTENT[:length] + bytes(len(CONTENT) - length))


@given(st.binary(max_size=300))
def test_anything_else(tmp_path_factory, content):
    with pytest.raises(InvalidFileError, match=r"file\.safetensors: "):
        read(tmp_path_factory.getbasetemp(), content)


def test_a_file_of_somebody_else(tmp_path):
    path = tmp_path / "file.safetensors"
    save_file(ARRAYS, path)
    with pytest.raises(ModelFileError, match="the checksum is missing; the file is damaged"):
        read_safetensors(path, verify=True)


def test_no_file(tmp_path):
    missing, folder = "there is no such file; check the path", "expected a file; this is a folder"
    for path, message in ((tmp_path / "none", missing), (tmp_path, folder)):
        with pytest.raises(ModelFileError, match=message):
            read_safetensors(path, verify=True)


def test_more_dimensions_than_an_array_has(tmp_path):
    """Also of a state dict, which has no checksum."""
    text = b'{"a":{"dtype":"F32","shape":[' + b"1," * 64 + b'1],"data_offsets":[0,4]}}'
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    model = gpunn.Sequential([gpunn.layers.Dense(2)], 3, "numpy")
    for reader in (read_safetensors, partial(gpunn.interchange.load_state_dict, model)):
        with pytest.raises(ModelFileError, match=r"a\.safetensors: contains an array that NumPy"):
            reader(path)

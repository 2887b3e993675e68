import hashlib
import json
import os
import stat
import sys
from pathlib import Path
from unittest.mock import Mock

import array_api_strict
import numpy as np
import pytest
from equality import assert_same_bits
from model_files import DAMAGED, contents, data, everything, rewritten, small, trained

import gpunn
from gpunn import storage
from gpunn.backends import Backend
from gpunn.errors import ArgumentError, BackendUnavailableError, ModelFileError
from gpunn.storage.checksums import checksummed
from gpunn.storage.files import write_atomically


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip(path, dtype):
    model = trained(model=everything(dtype=dtype)).model
    model.metadata = {"classes": ["a", "b", "ü"], "threshold": 0.5, "nested": {"x": [1, None]}}
    model.save(path)
    loaded = gpunn.load_model(path, "numpy")
    assert loaded.config() == model.config()
    assert loaded.metadata == model.metadata
    assert loaded.adapted
    assert_same_bits(loaded.parameters.to_host(), model.parameters.to_host())
    assert loaded.parameters.values.dtype == dtype
    np.testing.assert_array_equal(loaded.predict(data()[0]), model.predict(data()[0]))


def test_preprocessing_is_part_of_the_model(path):
    X, _ = data()
    trained().model.save(path)
    loaded = gpunn.load_model(path, "numpy")
    np.testing.assert_allclose(
        loaded.parameters["standardization_1.mean"], X.mean(axis=0), rtol=1e-6
    )
    again = trained(model=loaded)  # not taken from the inputs a second time
    np.testing.assert_array_equal(
        again.model.parameters["standardization_1.mean"],
        gpunn.load_model(path, "numpy").parameters["standardization_1.mean"],
    )


def test_a_model_whose_inputs_are_not_fitted_stays_so(path):
    everything().save(path)
    assert not gpunn.load_model(path, "numpy").adapted


def test_from_one_backend_to_another(path):
    device = array_api_strict.Device("device1")
    there = Backend(array_api_strict, device, "strict")
    model = everything(backend=there)
    model.save(path)
    for backend in ("numpy", there, Backend(array_api_strict)):
        loaded = gpunn.load_model(path, backend)
        assert_same_bits(loaded.parameters.to_host(), model.parameters.to_host())


def test_what_it_was_made_with_is_recorded(path):
    small().save(path)
    description = contents(path)[1]
    assert description["versions"] == {"gpunn": gpunn.__version__, "numpy": np.__version__}
    assert description["trained_on"]["backend"] == "numpy"


def test_a_checkpoint_is_a_model_too(path):
    trainer = trained()
    trainer.save_checkpoint(path)
    loaded = gpunn.load_model(path, "numpy")
    np.testing.assert_array_equal(loaded.predict(data()[0]), trainer.model.predict(data()[0]))


def test_weights_are_not_drawn_to_be_replaced(path, monkeypatch):
    small().save(path)
    monkeypatch.setattr("gpunn.initializers.Glorot.sample", None)
    gpunn.load_model(path, "numpy")


@pytest.mark.parametrize(
    "where", ["os.fsync", "pathlib.Path.replace", "gpunn.storage.models.checksummed"]
)
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file(path, monkeypatch, where, error):
    small().save(path)
    before = path.read_bytes()
    monkeypatch.setattr(where, Mock(side_effect=error))
    with pytest.raises(type(error)):
        everything().save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_metadata_that_json_cannot_hold(path):
    model = small()
    model.metadata["scale"] = np.float32(1)
    with pytest.raises(ArgumentError, match="metadata: expected JSON types"):
        model.save(path)
    assert not list(path.parent.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_follow_the_umask(path):
    previous = os.umask(0o027)
    try:
        small().save(path)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_folder_of_a_run(tmp_path):
    model = small()
    with pytest.raises(ModelFileError, match=r"final\.safetensors: there is no such file"):
        gpunn.load_model(tmp_path, "numpy")
    model.save(tmp_path / "best.safetensors")
    with pytest.raises(ModelFileError, match=r"has: best\.safetensors.*gpunn train .* --res"):
        gpunn.load_model(str(tmp_path), "numpy")
    model.save(tmp_path / "final.safetensors")
    loaded = gpunn.load_model(str(tmp_path), "numpy")
    np.testing.assert_array_equal(loaded.parameters.values, model.parameters.values)


def test_a_changed_byte_is_noticed(path):
    small().save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelFileError, match="its checksum does not match its content"):
        gpunn.load_model(path, "numpy")


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"gpunn": "{"}, {"gpunn": "[]"}, {"gpunn": "{}"}]
)
def test_foreign_file(path, metadata):
    write_atomically(path, *checksummed({"weight": np.zeros(3)}, metadata or {}))
    with pytest.raises(ModelFileError, match="a safetensors file, but not a gpunn model file"):
        gpunn.load_model(path, "numpy")


VALUES, REBUILT = "can't rebuild the network: values: ", "can't rebuild the network: .*"


@pytest.mark.parametrize(
    ("arrays", "changes", "message"),
    [
        ({}, {"format": 9, "versions": {"gpunn": "9.0"}}, r"has format 9, .* reads format 2.*9\.0"),
        ({}, {"format": "1"}, "has format '1'"),
        ({"dense_1.biases": None}, {}, f"{VALUES}'dense_1.biases' is missing"),
        ({"other": np.zeros(2)}, {}, f"{VALUES}'other' is not part of the network"),
        (
            {"dense_1.weights": np.zeros((3, 1))},
            {},
            rf"{VALUES}'dense_1.weights' has shape \(3, 1\); expected \(3, 2\)",
        ),
        ({"dense_1.biases": np.zeros(2, bool)}, {}, f"{VALUES}'dense_1.biases' has dtype bool"),
        ({"dense_1.biases": np.zeros(2)}, {}, f"{VALUES}.* dtype float64; expected float32"),
        (
            {"dense_1.biases": np.array([0, np.nan], np.float32)},
            {},
            f"{VALUES}'dense_1.biases' contains NaN or infinity",
        ),
        ({}, {"layers": []}, f"{REBUILT}layers: expected a list of at least one layer"),
        ({}, {"layers": [{"name": "unheard_of"}]}, f"{REBUILT}there is no layer 'unheard_of'"),
        ({}, {"layers": [{"name": "dense", "units": 2, "size": 1}]}, rf"{REBUILT}layers\[0\].size"),
        ({}, {"input_shape": [0]}, f"{REBUILT}input_shape: expected an integer"),
        ({}, {"dtype": "float16"}, f"{REBUILT}dtype: expected 'float32' or 'float64'"),
        ({}, {"seed": -1}, f"{REBUILT}seed"),
        *(({}, changes, f"the description is damaged: .*{said}") for changes, said in DAMAGED),
    ],
)
def test_what_no_file_of_gpunns_holds(path, arrays, changes, message):
    small().save(path)
    rewritten(path, arrays, **changes)
    with pytest.raises(ModelFileError, match=message):
        gpunn.load_model(path, "numpy")


def test_arrays_of_a_type_that_numpy_lacks(path):
    small().save(path)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["dense_1.biases"] |= {"dtype": "F8_E4M3", "shape": [8]}
    header["__metadata__"]["sha256"] = "0" * 64
    text = json.dumps(header, separators=(",", ":")).encode()
    changed = len(text).to_bytes(8, "little") + text + content[8 + size :]
    digest = hashlib.sha256(changed).hexdigest().encode()
    path.write_bytes(changed.replace(b"0" * 64, digest, 1))
    with pytest.raises(ModelFileError, match="that NumPy lacks"):
        gpunn.load_model(path, "numpy")


def test_the_tutorials_network_comes_back_as_one(path):
    network = gpunn.NeuralNetwork([3, 4, 2], "numpy")
    network.save(path)
    loaded = gpunn.load_model(path, "numpy")
    assert type(loaded) is gpunn.NeuralNetwork
    options = {"epochs": 2, "learning_rate": 0.1, "batch_size": 2, "verbose": False}
    X, y = np.ones((4, 3)), np.ones((4, 2))
    assert loaded.train(X, y, **options) == network.train(X, y, **options)


def test_loading_imports_nothing(path, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')\nclass Evil: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    small().save(path)
    for layer in (
        {"name": "evil:Evil"},
        {"name": "dense", "units": 2, "activation": "evil:Evil"},
        {"name": "dense", "units": 2, "initializer": {"name": "evil:Evil"}},
    ):
        rewritten(path, layers=[layer])
        with pytest.raises(ModelFileError, match="there is no"):
            gpunn.load_model(path, "numpy")
    assert "evil" not in sys.modules


def test_the_backend_is_asked_for_first(path):
    with pytest.raises((BackendUnavailableError, ArgumentError), match="nowhere"):
        gpunn.load_model(path, "nowhere")


def test_pickle_plays_no_part():
    for file in Path(storage.__file__).parent.glob("*.py"):
        assert "pickle" not in file.read_text().replace("no pickle", ""), file

"""State dicts in PyTorch's layout, compared with PyTorch if it is installed."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import gpunn
from gpunn.configurable import is_built_in, known
from gpunn.errors import ArgumentError, ExportError, ModelFileError
from gpunn.interchange import load_state_dict, save_state_dict, state_dict, torch_code
from gpunn.layers import (
    Activation,
    BatchNorm,
    Chain,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    MaxPool2D,
    PReLU,
    Rescaling,
    Standardization,
)

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(1, 2, (40, 6))
Y = X @ RANDOM.normal(size=(6, 2))
ACTIVATIONS = list(filter(is_built_in, known(gpunn.activations.Activation).values()))


def make_model(layers=None, dtype="float64", shape=(6,)) -> gpunn.Sequential:
    layers = layers or [
        Dense(5, bias=False),
        BatchNorm(epsilon=1e-3),
        Activation("relu"),
        Dropout(0.3),
        Dense(4, "gelu"),
        LayerNorm(),
        PReLU(),
        Dense(2),
    ]
    model = gpunn.Sequential(layers, shape, "numpy", dtype=dtype)
    trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.Adam(0.05))
    trainer.fit(X.reshape(-1, *shape), Y, epochs=3, progress=False)
    return model


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def test_parametrizations_are_not_pytorchs():
    """PyTorch's weights include the factor that gpunn applies in the layer."""
    model = make_model([Dense(3, "selu", parametrization="ntp"), Dense(2)])
    state, W = state_dict(model), model.parameters.to_host()["dense_1.weights"]
    np.testing.assert_allclose(state["0.weight"], W.T / np.sqrt(6), rtol=1e-15)
    again = gpunn.Sequential([each.config() for each in model.layers], 6, "numpy", dtype="float64")
    load_state_dict(again, state)
    np.testing.assert_allclose(again.predict(X), model.predict(X), rtol=1e-12)


def test_names_and_layout():
    model = make_model()
    state = state_dict(model)
    assert {name: array.shape for name, array in state.items()} == {
        "0.weight": (5, 6),
        "1.weight": (5,),
        "1.bias": (5,),
        "1.running_mean": (5,),
        "1.running_var": (5,),
        "1.num_batches_tracked": (),
        "4.weight": (4, 5),
        "4.bias": (4,),
        "6.weight": (4,),
        "6.bias": (4,),
        "7.weight": (4,),
        "8.weight": (2, 4),
        "8.bias": (2,),
    }
    assert np.array_equal(state["0.weight"], model.parameters["dense_1.weights"].T)
    assert torch_code(model) == (
        "torch.nn.Sequential(\n"
        "    torch.nn.Linear(6, 5, bias=False),\n"
        "    torch.nn.BatchNorm1d(5, eps=0.001, momentum=0.1),\n"
        "    torch.nn.ReLU(),\n"
        "    torch.nn.Dropout(0.3),\n"
        "    torch.nn.Linear(5, 4),\n"
        '    torch.nn.GELU("tanh"),\n'
        "    torch.nn.LayerNorm(4, eps=1e-05),\n"
        "    torch.nn.PReLU(4),\n"
        "    torch.nn.Linear(4, 2),\n"
        ")"
    )


@pytest.mark.parametrize("as_file", [False, True], ids=["mapping", "file"])
@pytest.mark.parametrize("prefix", ["", "net."])
def test_round_trip(tmp_path, as_file, prefix):
    model = make_model()
    save_state_dict(model, tmp_path / "a.safetensors")
    state = load_file(tmp_path / "a.safetensors")
    renamed = {prefix + name: array for name, array in state.items()}
    save_file({**renamed, "other.weight": X}, tmp_path / "b.safetensors")
    again = gpunn.Sequential(model.config()["layers"], (6,), "numpy", dtype="float64", seed=1)
    load_state_dict(again, tmp_path / "b.safetensors" if as_file else renamed, prefix)
    assert np.array_equal(again.predict(X), model.predict(X))


def test_chains_are_expanded():
    chain = make_model([Chain([Dense(4, "relu"), Chain([Dropout(0.1)])]), Dense(2)])
    flat = gpunn.Sequential(
        [Dense(4, "relu"), Dropout(0.1), Dense(2)], (6,), "numpy", dtype="float64"
    )
    assert torch_code(chain) == torch_code(flat)
    load_state_dict(flat, state_dict(chain))
    again = gpunn.Sequential(chain.config()["layers"], (6,), "numpy", dtype="float64", seed=1)
    load_state_dict(again, state_dict(flat))
    assert np.array_equal(again.predict(X), chain.predict(X))


def test_preprocessing_becomes_part_of_the_dense_layer():
    model = make_model([Standardization(), Rescaling(2.0, 1.0), Dropout(0.1), Dense(2, bias=False)])
    assert torch_code(model).split("\n")[1:3] == [
        "    torch.nn.Dropout(0.1),",
        "    torch.nn.Linear(6, 2),",
    ]
    plain = gpunn.Sequential([Dense(2)], (6,), "numpy", dtype="float64")
    load_state_dict(plain, state_dict(model))
    np.testing.assert_allclose(plain.predict(X), model.predict(X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "layers",
    [
        None,
        [Flatten(), Standardization(), Rescaling(0.5), Dense(4, "tanh"), Dense(2)],
        *([Dense(4, cls()), Dense(2)] for cls in ACTIVATIONS),
    ],
    ids=["mixed", "preprocessing", *(cls.name for cls in ACTIVATIONS)],
)
def test_pytorch_computes_the_same(torch, tmp_path, layers, dtype):
    from safetensors.torch import load_file as load_tensors

    fresh = None if layers is None else [layer.config() for layer in layers]
    flat = layers is None or not isinstance(layers[0], Flatten)
    shape = (6,) if flat else (2, 3)
    model = make_model(fresh, dtype, shape)
    save_state_dict(model, tmp_path / "a.safetensors")
    module = eval(torch_code(model), {"torch": torch}).to(getattr(torch, dtype))
    module.load_state_dict(load_tensors(tmp_path / "a.safetensors"))
    module.eval()
    rows = X.reshape(-1, *shape).astype(dtype)
    with torch.no_grad():
        found = module(torch.from_numpy(rows)).numpy()
    tolerance = 1e-5 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(found, model.predict(rows), rtol=tolerance, atol=tolerance)
    if flat:  # and tensors are loaded unchanged
        again = gpunn.Sequential(model.config()["layers"], shape, "numpy", dtype=dtype, seed=1)
        load_state_dict(again, module.state_dict())
        assert np.array_equal(again.predict(rows), model.predict(rows))


def state(**changes):
    shapes = {"0_weight": (4, 6), "0_bias": 4, "2_weight": (2, 4), "2_bias": 2}
    arrays = {name: np.ones(shape) for name, shape in shapes.items()} | changes
    return {name.replace("_", "."): it for name, it in arrays.items() if it is not None}


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({}, "expected names such as '0.weight'"),
        ({"0.weight": X.T[:2, :6]}, "2 in all (dense_1, dense_2); got 1 (0)"),
        (state(**{"0_bias": None}), "module 0 has ['weight']; layer 'dense_1' (Dense) expects"),
        (state(**{"0_weight": np.ones((6, 4))}), "0.weight has shape (6, 4); layer 'dense_1'"),
        (
            state(**{"0_bias": np.full(4, np.nan)}),
            "0.bias: expected finite numbers within float32's range",
        ),
        (state(**{"0_bias": np.full(4, 1e300)}), "expected finite numbers within float32's range"),
        (state(**{"0_bias": np.zeros(4, int)}), "0.bias: expected floats; got an array of int64"),
        (
            {f"{'9' * 5000}.weight": np.ones((4, 6))},
            f"expected names such as '0.weight'; got {'9' * 40}…",
        ),
        (
            {f"{number}.weight": np.ones((4, 6)) for number in range(10**4)},
            "2 in all (dense_1, dense_2); got 10000 (0, 1, 2, 3, 4, …)",
        ),
    ],
    ids=["empty", "count", "bias", "shape", "nan", "too large", "integers", "no number", "many"],
)
def test_states_that_do_not_fit(state, problem, tmp_path):
    model = gpunn.Sequential([Dense(4, "relu"), Dense(2)], (6,), "numpy")
    before = model.parameters.to_host()
    with pytest.raises(ArgumentError) as raised:
        load_state_dict(model, state)
    assert problem in str(raised.value)
    if state:
        path = tmp_path / "state.safetensors"
        save_file(state, path)
        with pytest.raises(ModelFileError) as raised:
            load_state_dict(model, path)
        assert str(raised.value).startswith(f"{path}: ")
        assert problem in str(raised.value)
    after = model.parameters.to_host()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_files_that_cannot_be_read(tmp_path):
    model = gpunn.Sequential([Dense(2)], (6,), "numpy")
    with pytest.raises(ModelFileError, match="there is no such file"):
        load_state_dict(model, tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(ModelFileError, match="not a readable safetensors file"):
        load_state_dict(model, tmp_path / "broken.safetensors")


def test_file_of_half_precision(tmp_path):
    """NumPy lacks bfloat16, whose numbers are the upper halves of float32 numbers."""
    values = np.array([1.5, -2.0, 0.0, 2.0**-130, 3e38, -np.pi], "<f4")
    places = {"0.weight": ([2, 2], 0, 8), "0.bias": ([2], 8, 12)}
    header = json.dumps(
        {
            name: {"dtype": "BF16", "shape": shape, "data_offsets": offsets}
            for name, (shape, *offsets) in places.items()
        }
    ).encode()
    halves = values.view("<u2")[1::2]
    path = tmp_path / "half.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + halves.tobytes())
    model = gpunn.Sequential([Dense(2)], 2, "numpy")
    load_state_dict(model, path)
    loaded = model.parameters.to_host()
    found = np.concatenate([loaded["dense_1.weights"].T.ravel(), loaded["dense_1.biases"]])
    assert np.array_equal(found.view("<u4"), values.view("<u4") & 0xFFFF0000)


def test_half_precision(torch, tmp_path):
    from safetensors.torch import save_file as save_tensors

    module = torch.nn.Sequential(torch.nn.Linear(6, 2)).to(torch.bfloat16)
    save_tensors(module.state_dict(), tmp_path / "half.safetensors")
    expected = module[0].weight.detach().float().numpy()
    for state in (module.state_dict(), tmp_path / "half.safetensors"):
        model = gpunn.Sequential([Dense(2)], (6,), "numpy")
        load_state_dict(model, state)
        assert np.array_equal(model.parameters["dense_1.weights"], expected.T)


class Halve(Dense):
    name = "halve_dense"


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ([Rescaling(2.0), LayerNorm(), Dense(2)], "layer 'layer_norm_1': PyTorch has no module"),
        ([Dense(2), Rescaling(2.0)], "model: ends in a Rescaling"),
        ([Halve(2)], "PyTorch has no module for Halve"),
    ],
)
def test_unsupported_layers(layers, problem):
    with pytest.raises(ExportError) as raised:
        torch_code(gpunn.Sequential(layers, (6,), "numpy"))
    assert problem in str(raised.value)


@pytest.mark.parametrize("layer", [BatchNorm, lambda: Conv2D(2, 1), MaxPool2D])
def test_images(layer):
    """PyTorch has channels first."""
    model = gpunn.Sequential([Rescaling(2.0), layer(), Flatten(), Dense(2)], (2, 2, 3), "numpy")
    with pytest.raises(ExportError, match=r"^layer '\w+_1': can't convert \w+ with rows of shape"):
        torch_code(model)
    model = gpunn.Sequential([Conv2D(2, 1)], (2, 2, 3), "numpy")
    with pytest.raises(ArgumentError, match=r"'conv_2d_1': can't convert Conv2D from a PyTorch"):
        load_state_dict(model, {"0.weight": np.zeros((2, 3)), "0.bias": np.zeros(2)})

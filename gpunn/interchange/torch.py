"""State dicts of PyTorch's `torch.nn.Sequential`, written and read without PyTorch.

A state dict maps names such as "0.weight" to arrays, where 0 is the module's index in the
`Sequential`. The matrix of `torch.nn.Linear` is the transpose of the matrix of
`gpunn.layers.Dense`. `safetensors.torch.load_file` reads the files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from gpunn import activations, layers
from gpunn.configurable import field_names, is_built_in
from gpunn.errors import ArgumentError, ExportError, ModelFileError
from gpunn.interchange.affine import Affine, affine_of, layers_of, layers_with_arrays
from gpunn.layers import Layer
from gpunn.network import Sequential, check_network
from gpunn.storage.checksums import read_safetensors
from gpunn.storage.files import write_output

OTHER_NAMES = {
    activations.ExactGELU: "GELU()",
    activations.GELU: 'GELU("tanh")',
    activations.HardSigmoid: "Hardsigmoid()",
    activations.HardSwish: "Hardswish()",
    activations.HardTanh: "Hardtanh()",
    activations.TanhShrink: "Tanhshrink()",
}

PARAMETERS: dict[type[Layer], dict[str, str]] = {
    layers.Dense: {"weight": "weights", "bias": "biases"},
    layers.BatchNorm: {
        "weight": "scale",
        "bias": "shift",
        "running_mean": "running_mean",
        "running_var": "running_variance",
    },
    layers.LayerNorm: {"weight": "scale", "bias": "shift"},
    layers.PReLU: {"weight": "slope"},
}

OF_ANY_SHAPE = (layers.Activation, layers.Dropout, layers.Flatten, layers.Rescaling)
"""Layers that PyTorch also has for images, except that channels come first there."""

COUNTER = "num_batches_tracked"
"""PyTorch's BatchNorm1d has a buffer with this name; gpunn's batch normalization does not."""


def state_dict(model: Sequential) -> dict[str, np.ndarray]:
    """Return a network's state dict, which fits the `torch.nn.Sequential` of `torch_code`.

    `Rescaling` and `Standardization`, for which PyTorch has no module, are merged into the dense
    layer that follows.

    Parameters
    ----------
    model : Sequential
        The network, on any device.

    Returns
    -------
    dict of str to ndarray
        Copies of the arrays on the host, in the network's dtype.

    Raises
    ------
    ExportError
        If a layer or an activation has no counterpart in PyTorch.

    Examples
    --------
    >>> model = gpunn.Sequential(
    ...     [gpunn.layers.Dense(4, "relu"), gpunn.layers.Dense(2)], 3, backend="numpy"
    ... )
    >>> {name: array.shape for name, array in gpunn.interchange.state_dict(model).items()}
    {'0.weight': (4, 3), '0.bias': (4,), '2.weight': (2, 4), '2.bias': (2,)}
    """
    return {
        f"{index}.{name}": np.array(array, order="C")
        for index, module in enumerate(modules(model))
        for name, array in module.arrays.items()
    }


def save_state_dict(model: Sequential, path: str | Path) -> None:
    """Write `state_dict` to a safetensors file.

    To load the file in PyTorch, make a `module` by running the code from `torch_code`, then call
    `module.load_state_dict(safetensors.torch.load_file(path))`.

    Parameters
    ----------
    model : Sequential
        The network, on any device.
    path : str or Path
        File to write.

    Raises
    ------
    ExportError
        As for `state_dict`.
    OSError
        If the file can't be written; an existing file then stays unchanged.

    Examples
    --------
    >>> from safetensors.numpy import load_file
    >>> model = gpunn.Sequential([gpunn.layers.Dense(4, "relu")], 3, backend="numpy")
    >>> gpunn.interchange.save_state_dict(model, "weights.safetensors")
    >>> sorted(load_file("weights.safetensors"))
    ['0.bias', '0.weight']
    """
    from safetensors.numpy import save

    write_output(path, save(state_dict(model), {"format": "pt"}))


def torch_code(model: Sequential) -> str:
    """Return Python code of the `torch.nn.Sequential` that can load `state_dict`.

    Parameters
    ----------
    model : Sequential
        The network, on any device.

    Returns
    -------
    str
        A Python expression of several lines.

    Raises
    ------
    ExportError
        As for `state_dict`.

    Examples
    --------
    >>> model = gpunn.Sequential(
    ...     [gpunn.layers.Dense(4, "relu"), gpunn.layers.Dense(2)], 3, backend="numpy"
    ... )
    >>> print(gpunn.interchange.torch_code(model))
    torch.nn.Sequential(
        torch.nn.Linear(3, 4),
        torch.nn.ReLU(),
        torch.nn.Linear(4, 2),
    )
    """
    lines = "".join(f"    torch.nn.{module.code},\n" for module in modules(model))
    return f"torch.nn.Sequential(\n{lines})"


def load_state_dict(
    model: Sequential, state: Mapping[str, Any] | str | Path, prefix: str = ""
) -> None:
    """Load the weights of a `torch.nn.Sequential` into a network of the same architecture.

    Modules that have parameters are matched, in order, to layers that have parameters: `Linear` to
    `Dense`, `BatchNorm1d` to `BatchNorm`, `LayerNorm` to `LayerNorm`.

    Parameters
    ----------
    model : Sequential
        The network, which is changed in place. A state dict does not contain activations, so gpunn
        can't check whether activations match: PyTorch's ``GELU()`` is "exact_gelu", and its
        ``GELU("tanh")`` is "gelu".
    state : mapping of str to array, or path
        A mapping from names such as "0.weight" to arrays or tensors, or the path of a safetensors
        file.
    prefix : str
        The beginning of the arrays' names, such as "net." in "net.0.weight". Names without this
        prefix are ignored.

    Raises
    ------
    ArgumentError
        If modules and layers don't match, or numbers are not finite in the network's dtype. The
        message names the modules or numbers, and the network stays unchanged.
    ModelFileError
        If the file can't be read, or its arrays don't match the network.

    See Also
    --------
    state_dict : Converts a network to a state dict.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Dense(1)], 2, backend="numpy")
    >>> state = {"0.weight": np.array([[1.0, 2.0]]), "0.bias": np.array([0.5])}
    >>> gpunn.interchange.load_state_dict(model, state)
    >>> model.predict([[1.0, 1.0]]).tolist()
    [[3.5]]
    """
    if isinstance(state, (str, Path)):
        arrays = read_safetensors(state)[1]
        try:
            values = fitting(model, arrays, prefix)
        except ArgumentError as error:
            raise ModelFileError(f"{state}: {error.problem}") from error
    else:
        values = fitting(model, state, prefix)
    for name, value in values.items():
        model.parameters[name] = value


def fitting(model: Sequential, state: Mapping[str, Any], prefix: str) -> dict[str, np.ndarray]:
    groups = grouped(state, prefix)
    learned = [name for name, spec in model.parameters.specs.items() if spec.learned]
    targets = [
        (label, layer)
        for label, layer in layers_of(model)
        if any(name.startswith(f"{label}.") for name in learned)
    ]
    if len(groups) != len(targets):
        raise ArgumentError(
            "state: expected one module for each layer with parameters, "
            f"{len(targets)} in all ({', '.join(label for label, _ in targets) or 'none'}); got "
            f"{len(groups)} ({some(groups)})"
        )
    values: dict[str, np.ndarray] = {}
    for (module, group), (label, layer) in zip(groups.items(), targets, strict=True):
        values |= layer_values(model, module, group, label, layer)
    return values


@dataclass
class Module:
    code: str
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def modules(model: Sequential) -> list[Module]:
    check_network(model)
    converted: list[Module] = []
    pending = Affine()  # to be folded into the next dense layer
    shape = model.input_shape
    for label, layer, arrays in layers_with_arrays(model):
        if len(shape) > 1 and type(layer) not in OF_ANY_SHAPE:
            raise ExportError(
                f"layer {label!r}: can't convert {type(layer).__name__} with rows of shape {shape} "
                "to PyTorch, where channels come first; export the network to ONNX"
            )
        shape = layer.output_shape(shape)
        if type(layer) in (layers.Rescaling, layers.Standardization):
            affine = affine_of(layer, arrays)
            assert affine is not None
            pending = pending.then(affine)
            continue
        if type(layer) is layers.Dense:
            converted += dense_modules(label, layer, arrays, pending)
            pending = Affine()
            continue
        if not pending.is_identity and type(layer) not in (layers.Dropout, layers.Flatten):
            raise ExportError(
                f"layer {label!r}: PyTorch has no module for the Rescaling or Standardization "
                "before it, which can only be folded into a Dense layer; export the network to ONNX"
            )
        converted += other_modules(label, layer, arrays)
    if not pending.is_identity:
        raise ExportError(
            "model: ends in a Rescaling or Standardization; PyTorch has no module for these layers"
        )
    for module in converted:
        module.arrays = {
            name: array.astype(model.dtype) if array.dtype.kind == "f" else array
            for name, array in module.arrays.items()
        }
    return converted


def dense_modules(
    label: str, layer: layers.Dense, arrays: Mapping[str, np.ndarray], pending: Affine
) -> list[Module]:
    W, b = pending.before(arrays["weights"], arrays.get("biases", np.zeros(layer.units)))
    linear = Module(f"Linear({W.shape[0]}, {W.shape[1]}", {"weight": W.T})
    if layer.bias or np.any(b):
        linear.arrays["bias"] = b
    linear.code += ")" if "bias" in linear.arrays else ", bias=False)"
    return [linear, *activation_modules(label, layer.f)]


def activation_modules(label: str, f: activations.Activation) -> list[Module]:
    if type(f) is activations.Identity:
        return []
    if not is_built_in(type(f)):
        raise ExportError(f"layer {label!r}: PyTorch has no module for {type(f).__name__}")
    settings = ", ".join(repr(getattr(f, name)) for name in field_names(type(f)))
    return [Module(OTHER_NAMES.get(type(f), f"{type(f).__name__}({settings})"))]


def other_modules(label: str, layer: Layer, arrays: Mapping[str, np.ndarray]) -> list[Module]:
    if type(layer) is layers.Activation:
        return activation_modules(label, layer.f)
    if type(layer) is layers.Dropout:
        if not isinstance(layer.rate, float):
            raise ExportError(
                f"layer {label!r}: the rate of PyTorch's dropout can't be a schedule; make the "
                "network with a number as the rate"
            )
        return [Module(f"Dropout({layer.rate!r})")]
    if type(layer) is layers.Flatten:
        return [Module("Flatten()")]
    if isinstance(layer, layers.BatchNorm | layers.LayerNorm) and type(layer) in PARAMETERS:
        size, eps = arrays["scale"].size, layer.epsilon
        named = {torch_name: arrays[name] for torch_name, name in PARAMETERS[type(layer)].items()}
        if isinstance(layer, layers.LayerNorm):
            return [Module(f"LayerNorm({size}, eps={eps!r})", named)]
        momentum = 1 - layer.momentum  # PyTorch's is the weight of the new value
        named[COUNTER] = np.array(0, dtype=np.int64)
        return [Module(f"BatchNorm1d({size}, eps={eps!r}, momentum={momentum:.12g})", named)]
    if type(layer) is layers.PReLU:
        return [Module(f"PReLU({arrays['slope'].size})", {"weight": arrays["slope"]})]
    raise ExportError(f"layer {label!r}: PyTorch has no module for {type(layer).__name__}")


def grouped(state: Mapping[str, Any], prefix: str) -> dict[str, dict[str, np.ndarray]]:
    groups: dict[int, dict[str, np.ndarray]] = {}
    for name, array in state.items():
        match = re.fullmatch(rf"{re.escape(prefix)}([0-9]{{1,18}})\.(\w+)", name)
        if match is not None and match[2] != COUNTER:
            groups.setdefault(int(match[1]), {})[match[2]] = on_host(array)
    if not groups:
        raise ArgumentError(
            f"state: expected names such as '{prefix}0.weight'; got {some(sorted(state))}"
        )
    return {f"{prefix}{index}": groups[index] for index in sorted(groups)}


def some(names: Collection[str]) -> str:
    shown = ", ".join(name if len(name) <= 40 else f"{name[:40]}…" for name in islice(names, 5))
    return (shown or "none") + (", …" if len(names) > 5 else "")


def on_host(array: Any) -> np.ndarray:
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        if str(array.dtype) == "torch.bfloat16":
            array = array.float()
    host = np.asarray(array)
    return host.astype(np.float32) if host.dtype.name == "bfloat16" else host


def layer_values(
    model: Sequential, module: str, group: Mapping[str, np.ndarray], label: str, layer: Layer
) -> dict[str, np.ndarray]:
    names = PARAMETERS.get(type(layer))
    if names is None:
        raise ArgumentError(
            f"layer {label!r}: can't convert {type(layer).__name__} from a PyTorch module"
        )
    expected_names = {each: name for each, name in names.items() if name in layer.values}
    if expected_names.keys() != group.keys():
        raise ArgumentError(
            f"state: module {module} has {sorted(group)}; layer {label!r} "
            f"({type(layer).__name__}) expects {sorted(expected_names)}"
        )
    values = {}
    for torch_name, name in expected_names.items():
        array = group[torch_name].T if type(layer) is layers.Dense else group[torch_name]
        expected = model.parameters.specs[f"{label}.{name}"].shape
        if array.shape != expected:
            shape = expected[::-1] if type(layer) is layers.Dense else expected
            raise ArgumentError(
                f"state: {module}.{torch_name} has shape {group[torch_name].shape}; layer "
                f"{label!r} expects {shape}"
            )
        if type(layer) is layers.Dense and name == "weights" and array.dtype.kind == "f":
            array = array / layer.weight_factor(len(array))
        title = f"state: {module}.{torch_name}"
        if array.dtype.kind != "f":
            raise ArgumentError(f"{title}: expected floats; got an array of {array.dtype}")
        with np.errstate(over="ignore"):
            values[f"{label}.{name}"] = converted = array.astype(model.dtype)
        if not np.isfinite(converted).all():
            raise ArgumentError(f"{title}: expected finite numbers within {model.dtype}'s range")
    return values

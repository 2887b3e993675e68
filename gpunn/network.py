"""Networks: layers in sequence, their parameters, and the passes forward and back."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpunn.backends import Backend, get_backend
from gpunn.configurable import check_integer, resolve
from gpunn.data.validation import check_inputs
from gpunn.errors import ArgumentError, suggest
from gpunn.layers import Layer
from gpunn.parameters import Parameters, ParameterSpec
from gpunn.randomness import generator
from gpunn.typing import Array, HostArray, Shape
from gpunn.workspace import Workspace

__all__ = ["Sequential"]

DTYPES = ("float32", "float64")


class Sequential:
    """Layers applied one after the other.

    Parameters
    ----------
    layers : sequence of Layer (or their configurations)
        Each takes the shape that the one before it gives; no layer may occur twice.
    input_shape : tuple of int or int
        Shape of one row of the input, without the batch's axis.
    backend : str, Backend or None
        Where to compute; see `gpunn.get_backend`.
    seed : int
        Of the initial weights, the shuffles and the dropout masks.
    dtype : {"float32", "float64"}
        Type of parameters and activations.

    Attributes
    ----------
    output_shape : tuple of int
        Shape of one row of the output.
    parameters : Parameters
        All arrays, by names such as "dense_1.weights".
    inputs_fitted : bool
        Whether layers that learn from the training inputs (`Standardization`) have done so.
    metadata : dict
        Anything in JSON types that is to be saved with the model, such as the classes' names.

    Raises
    ------
    ArgumentError
        If the layers don't fit one another; the message names the layer.

    Examples
    --------
    >>> import gpunn
    >>> model = gpunn.Sequential(
    ...     [gpunn.layers.Dense(4, activation="relu"), gpunn.layers.Dense(2)],
    ...     input_shape=(3,), backend="numpy", seed=0)
    >>> print(model.summary())
    layer    name     output shape  parameters
    dense_1  dense    (4,)                  16
    dense_2  dense    (2,)                  10
    total                                   26
    """

    def __init__(
        self,
        layers: Sequence[Layer | Mapping[str, Any] | str],
        input_shape: Shape | int,
        backend: str | Backend | None = None,
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        if not layers:
            raise ArgumentError("layers: expected at least one layer; got none")
        if dtype not in DTYPES:
            raise ArgumentError(f"dtype: there is no {dtype!r}; {suggest(str(dtype), DTYPES)}")
        sizes = (input_shape,) if isinstance(input_shape, int) else tuple(input_shape)
        self.input_shape = tuple(check_integer("input_shape", size) for size in sizes)
        self.seed = check_integer("seed", seed, at_least=0)
        self.dtype = dtype
        self.layers = [
            resolve(Layer, layer, f"layers[{index}]") for index, layer in enumerate(layers)
        ]
        if len({id(layer) for layer in self.layers}) < len(self.layers):
            raise ArgumentError("layers: the same layer object occurs twice; make one for each")
        self.backend = get_backend(backend)
        self.metadata: dict[str, Any] = {}
        self.labels = unique_labels(self.layers)
        self.shapes = self._infer_shapes()
        self.output_shape = self.shapes[-1]
        self.parameters = Parameters(self._declarations(), self.backend, dtype, self.seed)
        for index, (label, layer) in enumerate(zip(self.labels, self.layers, strict=True)):
            key = int(generator(self.seed, "dropout", index).integers(2**32))
            layer.attach(*self.parameters.views(label), key)
        self.inputs_fitted = not any(layer.learns_from_inputs for layer in self.layers)
        self._inference: Workspace | None = None

    def _infer_shapes(self) -> list[Shape]:
        shapes, shape = [], self.input_shape
        for label, layer in zip(self.labels, self.layers, strict=True):
            try:
                shape = layer.output_shape(shape)
                layer.parameters(shapes[-1] if shapes else self.input_shape)
            except ArgumentError as error:
                raise ArgumentError(f"layer {label!r}: {error}") from None
            shapes.append(shape)
        return shapes

    def _declarations(self) -> dict[str, ParameterSpec]:
        inputs = [self.input_shape, *self.shapes[:-1]]
        return {
            f"{label}.{spec.name}": spec
            for label, layer, shape in zip(self.labels, self.layers, inputs, strict=True)
            for spec in layer.parameters(shape)
        }

    # ------------------------------------------------------------------------------- passes

    def forward(self, x: Array, workspace: Workspace) -> list[Array]:
        """Return [x, output of layer 1, output of layer 2, ...] for a batch on the device."""
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer.forward(outputs[-1], workspace))
        return outputs

    def backward(self, outputs: Sequence[Array], gradient: Array, workspace: Workspace) -> None:
        """Set the gradients of all parameters by the chain rule.

        Parameters
        ----------
        outputs : sequence of array
            What `forward` returned.
        gradient : array
            dL/d(last output); overwritten.
        workspace : Workspace
            The one of the forward pass.
        """
        first = self._first_trained
        for index in range(len(self.layers) - 1, first - 1, -1):
            x, y = outputs[index], outputs[index + 1]
            wanted = index > first
            gradient = self.layers[index].backward(x, y, gradient, workspace, wanted)

    @property
    def _first_trained(self) -> int:
        """Number of the first layer with parameters to train: those below need no gradient."""
        trained = (index for index, layer in enumerate(self.layers) if layer.gradients)
        return next(trained, len(self.layers))

    # ---------------------------------------------------------------------------------- use

    def predict(self, X: HostArray, batch_size: int = 4096) -> np.ndarray:
        """Return the network's outputs for host rows, in chunks so that memory stays bounded.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            Finite real numbers.
        batch_size : int
            Rows on the device at a time; it does not change the result.

        Returns
        -------
        ndarray, shape (rows, *output_shape)
            As the last layer gives them: logits if that is a plain `Dense` trained with a
            cross-entropy. On the host, whatever the backend.

        Raises
        ------
        DataError
            If the shape or type does not fit the network, or a number is not finite.
        """
        batch_size = check_integer("batch_size", batch_size)
        X = check_inputs(X, self.input_shape)
        result = np.empty((X.shape[0], *self.output_shape), self.dtype)
        workspace = self._inference_workspace(min(batch_size, max(X.shape[0], 1)))
        dtype = self.input_dtype(X.dtype)
        for start in range(0, X.shape[0], workspace.capacity):
            rows = X[start : start + workspace.capacity]
            outputs = self.forward(self.backend.from_host(rows, dtype), workspace)
            result[start : start + rows.shape[0]] = self.backend.to_host(outputs[-1])
        return result

    def _inference_workspace(self, capacity: int) -> Workspace:
        if self._inference is None or self._inference.capacity != capacity:
            self._inference = Workspace(self.backend, self.dtype, capacity)
        return self._inference

    def input_dtype(self, dtype: np.dtype) -> str:
        """Return the type in which rows of this type go to the device.

        Small integers stay as they are where the first layer that computes is a `Rescaling`.
        """
        for layer in self.layers:
            if not layer.takes_integers or dtype.kind not in "ui" or dtype.itemsize > 2:
                return self.dtype
            if layer.output_shape(self.input_shape) == self.input_shape:
                return dtype.name
        return self.dtype

    def fit_inputs(self, X: HostArray) -> None:
        """Let layers that learn from the training inputs (`Standardization`) do so.

        They must come first, with nothing but `Flatten` before them. `Trainer.fit` calls this once.
        """
        X = check_inputs(X, self.input_shape)
        for label, layer in zip(self.labels, self.layers, strict=True):
            for name, value in layer.fit_inputs(X).items():
                self.parameters[f"{label}.{name}"] = value
            if layer.output_shape(self.input_shape) != self.input_shape:
                X = X.reshape(X.shape[0], -1)
        self.inputs_fitted = True

    # --------------------------------------------------------------------------- description

    def summary(self) -> str:
        """Return a table of layers, output shapes and numbers of trainable parameters."""
        rows = [("layer", "name", "output shape", "parameters")]
        for label, layer, shape in zip(self.labels, self.layers, self.shapes, strict=True):
            count = sum(
                math.prod(spec.shape)
                for name, spec in self.parameters.specs.items()
                if name.startswith(f"{label}.") and spec.trainable
            )
            rows.append((label, layer.name, str(shape), f"{count:,}"))
        rows.append(("total", "", "", f"{self.parameters.count:,}"))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}"
            for a, b, c, d in rows
        )

    def __repr__(self) -> str:
        """Say what the network is made of."""
        chain = " -> ".join(str(shape) for shape in (self.input_shape, *self.shapes))
        return f"<{type(self).__name__} {chain} on {self.backend.name}>"

    def config(self) -> dict[str, Any]:
        """Return the architecture in plain, JSON-ready types."""
        return {
            "layers": [layer.config() for layer in self.layers],
            "input_shape": list(self.input_shape),
            "seed": self.seed,
            "dtype": self.dtype,
        }

    def save(self, path: Any) -> None:
        """Write the model to a safetensors file; see `gpunn.saving.save_model`."""
        from gpunn.saving import save_model

        save_model(self, path)

    # ------------------------------------------------------------------------------- copying

    def to(self, backend: str | Backend) -> Sequential:
        """Return a copy of this network on another backend."""
        state = self.__getstate__()
        state["backend"] = get_backend(backend)
        duplicate = object.__new__(type(self))
        duplicate.__setstate__(state)
        return duplicate

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made from: layers without views, parameters as host arrays."""
        return {
            "layers": [detached(layer) for layer in self.layers],
            "input_shape": self.input_shape,
            "seed": self.seed,
            "dtype": self.dtype,
            "backend": self.backend.name,
            "values": self.parameters.to_host(),
            "metadata": copy.deepcopy(self.metadata),
            "inputs_fitted": self.inputs_fitted,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Rebuild the network, so that views and flat vectors share memory again."""
        Sequential.__init__(
            self,
            [detached(layer) for layer in state["layers"]],
            state["input_shape"],
            state["backend"],
            state["seed"],
            state["dtype"],
        )
        for name, value in state["values"].items():
            self.parameters[name] = value
        self.metadata = state["metadata"]
        self.inputs_fitted = state["inputs_fitted"]

    def __deepcopy__(self, memo: dict[int, Any]) -> Sequential:
        """Copy onto the same backend."""
        return self.to(self.backend)


def detached(layer: Layer) -> Layer:
    """Return a copy of the layer without its views of a network's parameters."""
    duplicate = copy.copy(layer)
    duplicate.attach({}, {}, 0)
    return duplicate


def unique_labels(layers: Sequence[Layer]) -> list[str]:
    """Return each layer's own label, or its name and number among those of its kind."""
    labels, counts = [], dict[str, int]()
    for layer in layers:
        counts[layer.name] = counts.get(layer.name, 0) + 1
        labels.append(layer.label or f"{layer.name}_{counts[layer.name]}")
    for label in labels:
        if labels.count(label) > 1:
            raise ArgumentError(f"layers: two layers have the label {label!r}")
        if "." in label:
            raise ArgumentError(f"layers: a label can't contain a dot; got {label!r}")
    return labels

"""What a network's numbers mean: names of inputs, outputs and classes; outputs as probabilities.

It is kept in `Sequential.metadata`, in JSON types, and so it is saved with the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpunn.errors import ArgumentError, ArgumentTypeError, DataError, suggest
from gpunn.typing import Shape

__all__ = [
    "Described",
    "check_class_count",
    "feature_names_in",
    "probabilities",
    "shown",
    "target_names_in",
]

OUTPUT_ACTIVATIONS = ("identity", "softmax", "sigmoid", "exponential")

SHOWN = 5
"""Names that a message lists."""


class Described:
    """What `Sequential` remembers of its data and its loss.

    Attributes
    ----------
    metadata : dict
        Where it is kept.
    """

    metadata: dict[str, Any]
    input_shape: Shape
    output_shape: Shape

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes in the order of their numbers, or None if they have none.

        Two for a network with one output, otherwise one for each output. `gpunn train` takes them
        from text in the data, `Trainer.fit` from the columns of one-hot targets in a data frame;
        elsewhere set them yourself.
        """
        names = self.metadata.get("classes")
        if names is None:
            return None
        if not isinstance(names, list) or any(isinstance(name, (list, dict)) for name in names):
            raise DataError(f"metadata['classes']: expected a list of names; got {names!r:.80}")
        return [str(name) for name in names]

    @classes.setter
    def classes(self, names: Sequence[str] | None) -> None:
        checked = None if names is None else checked_names("classes", names)
        if checked is not None:
            check_class_count(checked, self.output_shape[0], "classes")
        self._remember("classes", checked)

    @property
    def feature_names(self) -> list[str] | None:
        """Names of the inputs, or None if they have none.

        Of the columns of the data frame, or of the CSV file, that the network was first trained on.
        Columns of later data frames are put into this order by their names.
        """
        return feature_names_in(self.metadata, self.input_shape)

    @feature_names.setter
    def feature_names(self, names: Sequence[str] | None) -> None:
        checked = None if names is None else checked_names("feature_names", names)
        if checked is not None and self.input_shape != (len(checked),):
            raise ArgumentError(
                f"feature_names: expected one for each of the inputs, of shape {self.input_shape}; "
                f"got {len(checked)}"
            )
        self._remember("features", checked)
        self._remember("header", None if checked is None else True)

    @property
    def target_names(self) -> list[str] | None:
        """Names of the outputs, or None if they have none.

        Of the columns of the targets, if they were a data frame of several.
        """
        return target_names_in(self.metadata, self.output_shape)

    @property
    def output_activation(self) -> str | None:
        """What turns outputs into what the targets are: see `gpunn.losses.Loss.output_activation`.

        "softmax", "sigmoid", "exponential" or "identity"; None if it is not known. `Trainer.fit`
        takes it from the loss.
        """
        name = self.metadata.get("output_activation")
        return name if name in OUTPUT_ACTIVATIONS else None

    @output_activation.setter
    def output_activation(self, name: str | None) -> None:
        if name is not None and name not in OUTPUT_ACTIVATIONS:
            raise ArgumentError(
                f"output_activation: there is no {name!r}; {suggest(str(name), OUTPUT_ACTIVATIONS)}"
            )
        self._remember("output_activation", name)

    def remember(
        self, features: list[str] | None, targets: list[str] | None, output_activation: str | None
    ) -> None:
        """Take note of what the network is trained on; names that are known already stay."""
        if features is not None and self.feature_names is None:
            self.metadata |= {"features": features, "header": True}
        if targets is not None and self.target_names is None:
            self.metadata["targets"] = targets
            if output_activation == "softmax" and self.classes is None:
                self.metadata["classes"] = targets
        self.output_activation = output_activation

    def _remember(self, key: str, value: Any) -> None:
        if value is None:
            self.metadata.pop(key, None)
        else:
            self.metadata[key] = value


def feature_names_in(metadata: Mapping[str, Any], input_shape: Shape) -> list[str] | None:
    """Return the inputs' names that a network's metadata holds, if it holds them."""
    if not metadata.get("header", True):
        return None  # of a CSV file without names; what it has instead are numbers of columns
    return names_of_shape(metadata.get("features"), input_shape)


def target_names_in(metadata: Mapping[str, Any], output_shape: Shape) -> list[str] | None:
    """Return the outputs' names that a network's metadata holds, if it holds them."""
    return names_of_shape(metadata.get("targets"), output_shape)


def names_of_shape(names: Any, shape: Shape) -> list[str] | None:
    """Return `names` if they are that, one for each number of a row of this shape."""
    fit = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return list(names) if fit and shape == (len(names),) else None


def checked_names(argument: str, names: Any) -> list[str]:
    """Return names as a list, or raise an error if they are none."""
    listed = [] if isinstance(names, str) else list(names)
    if not listed or not all(isinstance(name, str) for name in listed):
        raise ArgumentTypeError(f"{argument}: expected a list of texts; got {names!r:.80}")
    if len(set(listed)) < len(listed):
        raise ArgumentError(f"{argument}: a name occurs twice in {shown(listed)}")
    return [str(name) for name in listed]


def check_class_count(classes: Sequence[str], outputs: int, argument: str) -> None:
    """Raise a DataError unless there are as many names of classes as a network can tell apart."""
    expected = max(outputs, 2)
    if len(classes) != expected:
        count = f"{outputs} output{'s' if outputs > 1 else ''}"
        remedy = f"units={len(classes)}" + (" or 1" if len(classes) == 2 else "")
        raise DataError(
            f"{argument}: a network with {count} is for {expected} classes; there are "
            f"{len(classes)}: {shown(classes)}. Give its last layer {remedy}"
        )


def shown(names: Sequence[str]) -> str:
    """Return the first few names, for a message."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"{name!r:.60}" for name in names[:SHOWN]) + more


def probabilities(outputs: np.ndarray, activation: str) -> np.ndarray:
    """Return the probabilities that logits stand for.

    Parameters
    ----------
    outputs : ndarray, shape (rows, outputs)
    activation : {"softmax", "sigmoid"}

    Returns
    -------
    ndarray, shape (rows, classes)
        softmax(outputs), or p = 1 / (1 + exp(-outputs)) of each yes-or-no output; for a single one
        1 - p and p.
    """
    if activation == "softmax":
        exponential = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        shares: np.ndarray = exponential / exponential.sum(axis=1, keepdims=True)
        return shares
    decay = np.exp(-np.abs(outputs))  # cannot overflow
    p = np.where(outputs >= 0, 1, decay) / (1 + decay)
    return p if outputs.shape[1] > 1 else np.hstack([1 - p, p])

"""Describe a network's inputs and outputs: store their names, and compute probabilities.

`Sequential.metadata` stores the names as JSON types, so that model files contain them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from gpunn.errors import ArgumentError, ArgumentTypeError, DataError, suggest
from gpunn.intervals import check_intervals
from gpunn.prediction_sets import check_sets
from gpunn.rows.csv_rows import first_few
from gpunn.thresholds import TWO_CLASSES
from gpunn.typing import Shape

OUTPUT_ACTIVATIONS = ("identity", "softmax", "sigmoid", "exponential")

SHAPES_OF_TWO = tuple(shape for _, shape in TWO_CLASSES)


class Described:
    """Base of `Sequential`, with properties whose values are in `metadata`."""

    metadata: dict[str, Any]
    input_shape: Shape
    output_shape: Shape

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes in the order of their indices, or None; see `Sequential`.

        A network with one output has two class names; other networks have one name per output.
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
        """Names of the inputs, or None; see `Sequential`."""
        return feature_names_in(self.metadata, self.input_shape)

    @feature_names.setter
    def feature_names(self, names: Sequence[str] | None) -> None:
        checked = None if names is None else checked_names("feature_names", names)
        if checked is not None and self.input_shape != (len(checked),):
            raise ArgumentError(
                f"feature_names: expected one name per input, for inputs of shape "
                f"{self.input_shape}; got {len(checked)}"
            )
        self._remember("features", checked)
        self._remember("header", None if checked is None else True)

    @property
    def target_names(self) -> list[str] | None:
        """Names of the outputs, or None; see `Sequential`."""
        return target_names_in(self.metadata, self.output_shape)

    @property
    def output_activation(self) -> str | None:
        """The function that maps outputs to the scale of the targets, or None; see `Sequential`."""
        name = self.metadata.get("output_activation")
        return name if name in OUTPUT_ACTIVATIONS else None

    @output_activation.setter
    def output_activation(self, name: str | None) -> None:
        if name is not None and name not in OUTPUT_ACTIVATIONS:
            raise ArgumentError(
                f"output_activation: there is no {name!r}; {suggest(str(name), OUTPUT_ACTIVATIONS)}"
            )
        self._remember("output_activation", name)

    @property
    def threshold(self) -> float | None:
        """The minimum probability at which the second of two classes is predicted.

        With None, the more probable class is predicted.
        """
        value = self.metadata.get("threshold")
        if value is None:
            return None
        if self.output_shape not in SHAPES_OF_TWO:
            raise DataError(
                "metadata['threshold']: needs a network with two classes; this network has outputs "
                f"of shape {self.output_shape}"
            )
        if isinstance(value, bool) or not (isinstance(value, int | float) and 0 <= value <= 1):
            raise DataError(
                f"metadata['threshold']: expected a number from 0 to 1; got {value!r:.80}"
            )
        return float(value)

    @threshold.setter
    def threshold(self, value: float | None) -> None:
        if value is not None:
            known, shape = self.output_activation, self.output_shape
            if shape not in SHAPES_OF_TWO or (known and (known, shape) not in TWO_CLASSES):
                raise ArgumentError(
                    "threshold: needs a network with two classes; this network has outputs of "
                    f"shape {shape}" + (f" and the output activation {known!r}" if known else "")
                )
            if isinstance(value, bool) or not (isinstance(value, Real) and 0 <= value <= 1):
                raise ArgumentError(f"threshold: expected a number from 0 to 1; got {value!r}")
            value = float(value)
        self._remember("threshold", value)

    def _checked(self, key: str, check: Callable[[Any], dict[str, Any]]) -> dict[str, Any] | None:
        value = self.metadata.get(key)
        with DataError.instead_of(ValueError, prefix=f"metadata[{key!r}]: "):
            return None if value is None else check(value)

    @property
    def intervals(self) -> dict[str, Any] | None:
        """Scores that determine prediction intervals, or None; see `gpunn.intervals`.

        `gpunn train` and the regressors for tables set these scores.
        """
        return self._checked("intervals", lambda it: check_intervals(it, self.output_shape[0]))

    @intervals.setter
    def intervals(self, value: dict[str, Any] | None) -> None:
        self._remember("intervals", value)

    @property
    def prediction_sets(self) -> dict[str, Any] | None:
        """Limits that determine prediction sets, or None; see `gpunn.prediction_sets`.

        `gpunn train` and the classifiers for tables set these limits.
        """
        return self._checked("prediction_sets", check_sets)

    @prediction_sets.setter
    def prediction_sets(self, value: dict[str, Any] | None) -> None:
        self._remember("prediction_sets", value)

    def remember(
        self, features: list[str] | None, targets: list[str] | None, output_activation: str | None
    ) -> None:
        """Store the output activation, and the names of features and targets in the training data.

        If the network already has feature names or target names, these names stay unchanged.

        Parameters
        ----------
        features, targets : list of str or None
            Names of the input columns and of the target columns.
        output_activation : str or None
            The activation that turns the network's outputs into predictions.
        """
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
    if not metadata.get("header", True):
        return None  # without a header, the CSV file had only column numbers
    return names_of_shape(metadata.get("features"), input_shape)


def target_names_in(metadata: Mapping[str, Any], output_shape: Shape) -> list[str] | None:
    return names_of_shape(metadata.get("targets"), output_shape)


def names_of_shape(names: Any, shape: Shape) -> list[str] | None:
    fit = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return list(names) if fit and shape == (len(names),) else None


def checked_names(argument: str, names: Any) -> list[str]:
    listed = [] if isinstance(names, str) else list(names)
    if not listed or not all(isinstance(name, str) for name in listed):
        raise ArgumentTypeError(f"{argument}: expected a list of strings; got {names!r:.80}")
    if len(set(listed)) < len(listed):
        raise ArgumentError(f"{argument}: a name occurs twice in {shown(listed)}")
    return [str(name) for name in listed]


def check_class_count(classes: Sequence[str], outputs: int, argument: str) -> None:
    expected = max(outputs, 2)
    if len(classes) != expected:
        count = f"{outputs} output{'s' if outputs > 1 else ''}"
        units = f"units={len(classes)}" + (" or 1" if len(classes) == 2 else "")
        raise DataError(
            f"{argument}: a network with {count} is for {expected} classes; got {len(classes)}: "
            f"{shown(classes)}. Set {units} in the last layer"
        )


def shown(names: Sequence[str]) -> str:
    return first_few([f"{name!r:.60}" for name in names])


def plural(count: int, noun: str) -> str:
    if count == 1:
        return f"1 {noun}"
    ending = {"y": "ies", "s": "ses"}.get(noun[-1])
    return f"{count:,} {noun + 's' if ending is None else noun[:-1] + ending}"


def probabilities(outputs: np.ndarray, activation: str) -> np.ndarray:
    """Return softmax or sigmoid probabilities; one output becomes columns for class 0 and 1."""
    if activation == "softmax":
        exponential = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        softmax: np.ndarray = exponential / exponential.sum(axis=1, keepdims=True)
        return softmax
    decay = np.exp(-np.abs(outputs))  # cannot overflow
    p = np.where(outputs >= 0, 1, decay) / (1 + decay)
    return p if outputs.shape[1] > 1 else np.hstack([1 - p, p])

"""Labels of classes: text, or numbers such as 1 to 7, or -1 and 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpunn.data.csv import LONGEST_NAME
from gpunn.errors import ConfigError, DataError, suggest
from gpunn.losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy

__all__ = [
    "check_classes",
    "is_text",
    "label_names",
    "label_values",
    "positions",
    "text_classes",
]


def label_values(y: np.ndarray, loss: Loss, outputs: int) -> np.ndarray | None:
    """Return the classes' labels, ascending, if targets are numbers that name classes.

    The loss decides: only with a cross-entropy do numbers stand for classes, and only if they are
    not what the loss takes anyway. Softmax cross-entropy takes integers from 0 to outputs - 1, and
    binary cross-entropy of one output numbers in [0, 1].

    Parameters
    ----------
    y : ndarray of shape (rows,)
        Numbers.
    loss : Loss
    outputs : int
        Number of the network's outputs.

    Returns
    -------
    ndarray or None
        The different numbers in `y`, in ascending order; None if they are taken as they are.

    Raises
    ------
    DataError
        If there are more of them than outputs.
    """
    if isinstance(loss, SoftmaxCrossEntropy) and outputs > 1:
        if y.dtype.kind in "iu" and y.min() >= 0 and y.max() < outputs:
            return None
        values = np.unique(y)
        if len(values) > outputs:
            raise DataError(
                f"y: the target holds {len(values)} different numbers, from {values[0]} to "
                f"{values[-1]}, but the network has {outputs} outputs, one a class. Give the last "
                "layer as many units as there are classes; to predict the number itself, choose a "
                "loss such as 'mean_squared_error'"
            )
        return values
    if isinstance(loss, BinaryCrossEntropy) and outputs == 1 and (y.min() < 0 or y.max() > 1):
        values = np.unique(y)
        return values if len(values) == 2 else None
    return None


def check_classes(classes: Sequence[str], loss: Loss, outputs: int) -> None:
    """Raise a ConfigError if a loss can't tell classes apart.

    Parameters
    ----------
    classes : sequence of str
        Their names.
    loss : Loss
    outputs : int
        Number of the network's outputs.
    """
    if isinstance(loss, BinaryCrossEntropy) and outputs == 1 and len(classes) > 2:
        raise ConfigError(
            f"training.loss: {loss.name!r} tells two classes apart, but the target has "
            f"{len(classes)}; choose 'softmax_cross_entropy' and a last layer of {len(classes)} "
            "units"
        )
    codes = np.arange(len(classes)) % 2
    if outputs == 1 and loss.class_indices(loss.check_targets(codes, outputs)) is None:
        raise ConfigError(
            f"training.loss: {loss.name!r} takes numbers, but the target holds classes, such as "
            f"{classes[0]!r}; choose 'softmax_cross_entropy' or, for two classes, "
            "'binary_cross_entropy'"
        )


def is_text(y: np.ndarray) -> bool:
    """Return whether an array holds text, in characters or in bytes."""
    return y.dtype.kind in "US"


def text_classes(y: np.ndarray, place: str) -> tuple[list[str], np.ndarray]:
    """Return the classes that an array of text holds, and the index of each row's class.

    Spaces around the text don't count, as in CSV.

    Parameters
    ----------
    y : ndarray of shape (rows,) or (rows, 1)
        Text, or bytes in UTF-8.
    place : str
        What messages call it.

    Returns
    -------
    list of str, ndarray of int64
        The names are in order: as numbers if each of them spells one, else as text.

    Raises
    ------
    DataError
        If the shape is another one, or a row holds something that can't be the name of a class.
    """
    if y.ndim != 1 and y.shape[1:] != (1,):
        raise DataError(
            f"{place}: expected text of shape (rows,), a class for each row; got shape {y.shape}"
        )
    values, codes = np.unique(np.char.strip(y.reshape(-1)), return_inverse=True)
    names: list[str] = []
    for code, value in enumerate(values):
        try:
            text = value.decode() if isinstance(value, bytes) else str(value)
            text.encode()
        except ValueError as error:
            raise DataError(f"{_first(place, codes, code)}: damaged text: {error}") from error
        if text.casefold() in ("", "nan"):
            raise DataError(
                f"{_first(place, codes, code)}: the class is missing here; fill it in, or remove "
                "such rows"
            )
        if len(text) > LONGEST_NAME:
            raise DataError(
                f"{_first(place, codes, code)}: names of classes have at most {LONGEST_NAME} "
                f"characters; got {len(text)}"
            )
        names.append(text)
    numbers = [as_number(name) for name in names]
    if None in numbers:
        return names, codes.astype(np.int64)
    order = np.argsort(np.array(numbers, dtype=np.float64), kind="stable")
    place_of = np.empty(len(order), np.int64)
    place_of[order] = np.arange(len(order))
    return [names[index] for index in order], place_of[codes]


def _first(place: str, codes: np.ndarray, code: int) -> str:
    return f"{place}, row {int((codes == code).argmax())} (counted from 0)"


def label_names(values: np.ndarray) -> list[str]:
    """Return the numbers as text: integers as such, others with their point."""
    return [str(value) for value in values]


def positions(found: Sequence[str], classes: Sequence[str], place: str) -> np.ndarray:
    """Return the index in `classes` of each label.

    A label is a class's name, or another spelling of the same number: "1" is "1.0".

    Parameters
    ----------
    found : sequence of str
    classes : sequence of str
        Names of the classes.
    place : str
        Where the labels are from, for the error message.

    Raises
    ------
    DataError
        If a label is of no class.
    """
    places = {name: place for place, name in enumerate(classes)}
    numbers: dict[float | None, int] = {}
    for name, position in places.items():
        numbers.setdefault(as_number(name), position)
    numbers.pop(None, None)
    result = [places.get(label, numbers.get(as_number(label), -1)) for label in found]
    if -1 in result:
        unknown = found[result.index(-1)]
        raise DataError(
            f"{place} holds {unknown!r}, which is no class of the training data; "
            f"{suggest(unknown, classes)}"
        )
    return np.array(result, dtype=np.int64)


def as_number(text: str) -> float | None:
    """Return the finite number that a text spells, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None

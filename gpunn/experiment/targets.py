"""What is to be predicted: numbers, or classes by their names; of tables, CSV files and arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from gpunn.config import TableFile
from gpunn.data.csv import LONGEST_NAME
from gpunn.errors import ConfigError, DataError, suggest
from gpunn.losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from gpunn.rows.cells import Markers, boolean_text, number_of
from gpunn.tables import Table
from gpunn.tables.cells import category_names, coded, numbers_of
from gpunn.tables.encoders import kind_of
from gpunn.tables.encoders.base import check_complete, wrong_cell
from gpunn.tables.encoders.boolean import BOOLEANS
from gpunn.tables.encoders.number import finite_numbers
from gpunn.tables.inspection import MAX_CLASSES, class_names

__all__ = [
    "TableTargets",
    "are_labels",
    "check_classes",
    "codes_of_numbers",
    "is_text",
    "label_names",
    "label_values",
    "positions",
    "text_classes",
]

CLASSES = "for classes choose the loss 'softmax_cross_entropy'"

SEVERAL = (
    "train a network of its own for it: several targets have to be numbers, or labels that are 0 "
    "and 1 or true and false"
)


# ---------------------------------------------------------------------------- names of classes


def in_order(names: Iterable[str]) -> list[str]:
    """Return names of classes sorted: as numbers if each of them spells one, else as text."""
    numbers = {name: number_of(name) for name in names}
    if None in numbers.values():
        return sorted(numbers)
    return sorted(numbers, key=lambda name: (numbers[name], name))


def finder(classes: Sequence[str]) -> Callable[[str], int]:
    """Return what finds the place of a label among classes; -1 if it is of none.

    A label is a class's name, or another spelling of the same number: "1" is "1.0".
    """
    places = {name: place for place, name in enumerate(classes)}
    numbers = {number_of(name): place for name, place in reversed(places.items())}
    numbers.pop(None, None)
    return lambda label: places.get(label, numbers.get(number_of(label), -1))


def positions(labels: Sequence[str], classes: Sequence[str], place: str) -> np.ndarray:
    """Return the index in `classes` of each label, or raise a DataError if it is of no class.

    Messages call the labels by `place`.
    """
    found = list(map(finder(classes), labels))
    if -1 in found:
        unknown = labels[found.index(-1)]
        raise DataError(
            f"{place} holds {unknown!r}, which is no class of the training data; "
            f"{suggest(unknown, classes)}"
        )
    return np.array(found, dtype=np.int64)


def check_classes(classes: Sequence[str], loss: Loss, outputs: int) -> None:
    """Raise a ConfigError if a loss on so many outputs can't tell classes apart."""
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


# ------------------------------------------------------------------ of CSV files and of arrays


def label_values(y: np.ndarray, loss: Loss, outputs: int) -> np.ndarray | None:
    """Return the different numbers in `y`, ascending, if they name classes; None if they don't.

    The loss decides: only with a cross-entropy do numbers stand for classes, and only if they are
    not what the loss takes anyway. Softmax cross-entropy takes integers from 0 to outputs - 1, and
    binary cross-entropy of one output numbers in [0, 1]. If there are more of them than outputs, a
    DataError says so.
    """
    if isinstance(loss, SoftmaxCrossEntropy) and outputs > 1:
        if y.dtype.kind in "iu" and y.min() >= 0 and y.max() < outputs:
            return None
        values = np.unique(y)
        if len(values) > outputs:
            raise DataError(
                f"y: the target holds {len(values)} different numbers, from {values[0]} to "
                f"{values[-1]}, but the network has {outputs} outputs, one per class. Give the "
                "last layer as many units as there are classes; to predict the number itself, "
                "choose a loss such as 'mean_squared_error'"
            )
        return values
    if isinstance(loss, BinaryCrossEntropy) and outputs == 1 and (y.min() < 0 or y.max() > 1):
        values = np.unique(y)
        return values if len(values) == 2 else None
    return None


def label_names(values: np.ndarray) -> list[str]:
    """Return the numbers as text: integers as such, others with their point."""
    return [str(value) for value in values]


def codes_of_numbers(y: np.ndarray, classes: Sequence[str], place: str) -> np.ndarray:
    """Return the index in `classes` of each number; see `positions`."""
    values, places = np.unique(y, return_inverse=True)
    return np.asarray(positions(label_names(values), classes, place)[places])


def is_text(y: np.ndarray) -> bool:
    """Return whether an array holds text, in characters or in bytes."""
    return y.dtype.kind in "US"


def text_classes(y: np.ndarray, place: str) -> tuple[list[str], np.ndarray]:
    """Return the classes that an array of text holds, in order, and the index of each row's class.

    The text is of shape (rows,) or (rows, 1), or bytes in UTF-8. Spaces around it don't count.
    Messages call it by `place`; a DataError names the row that holds no class.
    """
    if y.ndim != 1 and y.shape[1:] != (1,):
        raise DataError(
            f"{place}: expected text of shape (rows,), a class for each row; got shape {y.shape}"
        )
    values, codes = np.unique(np.char.strip(y.reshape(-1)), return_inverse=True)
    names: list[str] = []
    for code, value in enumerate(values):
        try:
            names.append(name_of_class(value))
        except ValueError as error:
            first = int((codes == code).argmax())
            raise DataError(f"{place}, row {first} (counted from 0): {error}") from error
    places = {name: place for place, name in enumerate(in_order(names))}
    return list(places), np.array([places[name] for name in names], dtype=np.int64)[codes]


def name_of_class(value: bytes | str) -> str:
    """Return the name that a row has for its class, or raise a ValueError if it can't be one."""
    try:
        text = value.decode() if isinstance(value, bytes) else str(value)
        text.encode()
    except ValueError as error:
        raise ValueError(f"damaged text: {error}") from error
    if text.casefold() in ("", "nan"):
        raise ValueError("the class is missing here; fill it in, or remove such rows")
    if len(text) > LONGEST_NAME:
        raise ValueError(
            f"names of classes have at most {LONGEST_NAME} characters; got {len(text)}"
        )
    return text


# --------------------------------------------------------------------------------- of tables


class TableTargets:
    """The columns of a table to predict.

    If one is not there, or a row lacks a value, it raises a DataError.
    """

    def __init__(self, table: Table, data: TableFile) -> None:
        markers = Markers.of(data.missing_values)
        self.data = data
        self.columns = [TargetColumn(table, name, markers) for name in data.targets]

    def classes(self, loss: Loss | None) -> list[str] | None:
        """Return the classes that training rows hold, in order; None if the targets are numbers.

        The loss decides: a cross-entropy is for classes, every other one for numbers. Without a
        loss, text and booleans are classes, and so are whole numbers of at most `MAX_CLASSES`
        different values. Several targets are numbers, or labels if all are 0 and 1; see
        `are_labels`. Of two classes the one that is looked for is the second; a ConfigError says if
        it is none of them. A DataError says if there is a single class, or neither classes nor
        numbers.
        """
        classes = self.columns[0].classes(loss) if len(self.columns) == 1 else None
        positive = self.data.positive
        if positive is None:
            return classes
        if classes is None or len(classes) != 2:
            found = "no classes" if classes is None else f"{len(classes)} classes"
            raise ConfigError(
                f"data.positive: is for a target of two classes; this one has {found}"
            )
        place = finder(classes)(boolean_text(positive) if are_booleans(classes) else positive)
        if place < 0:
            raise ConfigError(
                f"data.positive: there is no class {positive!r}; {suggest(positive, classes)}"
            )
        return [classes[1 - place], classes[place]]

    def encoded(self, classes: Sequence[str] | None, loss: Loss | None = None) -> np.ndarray:
        """Return the places of classes as int64, or numbers as float64, which the loss takes.

        Of shape (rows,), or (rows, targets) if a list of targets was given. A DataError says which
        row has no number, or none of the classes.
        """
        if classes is not None:
            return self.columns[0].codes(classes)
        advice = CLASSES if len(self.columns) == 1 else SEVERAL
        numbers = [column.numbers(loss, advice) for column in self.columns]
        return numbers[0] if isinstance(self.data.target, str) else np.column_stack(numbers)

    def check_variation(self, y: np.ndarray) -> None:
        """Raise a DataError if a target that is numbers is the same in every row to learn from."""
        for column, numbers in zip(self.columns, y.reshape(len(y), -1).T, strict=True):
            if (numbers == numbers[0]).all():
                raise column.unvaried(f"{numbers[0]:g}")


class TargetColumn:
    """A column to predict. Each different value is looked at once."""

    def __init__(self, table: Table, name: str, markers: Markers) -> None:
        if name not in table:
            raise DataError(
                f"{table.title}: there is no target {name!r}; {suggest(name, table.names)}"
            )
        self.table, self.name, self.markers = table, name, markers
        read = table.column(name)
        self.read = read if isinstance(read, np.ndarray) else read.compact()
        self.cells = coded(self.read)
        self.kind = kind_of(self.read, markers)
        absent = [text is None for text in category_names(self.cells.values, markers)]
        check_complete(table, name, self.cells.take(np.array(absent, bool), True), "target")

    def classes(self, loss: Loss | None) -> list[str] | None:
        """Return the classes, in order, or None if these are numbers; see `TableTargets`."""
        if loss is not None and loss.output_activation not in ("softmax", "sigmoid"):
            return None
        title = f"{self.table.title}: the target {self.name!r}"
        if self.kind == "datetime":
            raise DataError(f"{title} holds dates; predict a number instead")
        texts = self.names(self.kind == "boolean")
        found = {text for text in texts if text is not None}
        numbers = [number for text in found if (number := number_of(text)) is not None]
        if loss is None and len(numbers) == len(found):
            whole = all(number % 1 == 0 for number in numbers)
            if not whole or len(found) > MAX_CLASSES:
                return None
        if loss is None and len(found) > MAX_CLASSES and 2 * len(numbers) > len(found):
            self.refuse_text("as most rows have")
        for value, text in enumerate(texts):
            if text is not None and len(text) > LONGEST_NAME:
                raise DataError(
                    f"{self.table.place(self.name, self.cells.first_row(value))}: it is the "
                    f"target, and names of classes have at most {LONGEST_NAME} characters; got "
                    f"{len(text)}. Is it the right column?"
                )
        if len(found) < 2:
            raise self.unvaried(", ".join(found))
        if len(found) == self.table.rows:
            raise DataError(
                f"{title} has another class in every row, such as {min(found)!r:.80}; is it the "
                "right column?"
            )
        return in_order(found)

    def codes(self, classes: Sequence[str]) -> np.ndarray:
        """Return the place of each row's class; 1.0 is the class 1."""
        find = finder(classes)
        names = self.names(are_booleans(classes))
        found = [-1 if name is None else find(name) for name in names]
        codes = self.cells.take(np.array(found, dtype=np.int64), -1)
        if (codes < 0).any():
            row = int((codes < 0).argmax())
            text = str(self.cells.values[self.cells.codes[row]]).strip()
            raise DataError(
                f"{self.table.place(self.name, row)}: {text!r:.80} is no class of the training "
                f"data; {suggest(text, classes)}"
            )
        return codes

    def numbers(self, loss: Loss | None, advice: str) -> np.ndarray:
        """Return the numbers of the rows; true and false are 1 and 0."""
        if self.kind == "boolean":
            yes = [name == "True" for name in self.names(True)]
            return self.cells.take(np.array(yes, dtype=np.float64), np.nan)
        self.refuse_text("" if loss is None else f"as the loss {loss.name!r} takes", advice)
        return finite_numbers(self.table, self.name, self.markers)

    def names(self, booleans: bool) -> list[str | None]:
        """Return the name of the class that each value stands for; None if it is a missing one."""
        texts = class_names(self.cells.values, self.markers)
        return [boolean_text(text) if booleans and text else text for text in texts]

    def refuse_text(self, why: str, advice: str = CLASSES) -> None:
        """Raise a DataError if there is something other than numbers."""
        _, others = numbers_of(self.read, self.markers)
        if others:
            expected = f"the target should be a number{f', {why}' if why else ''}"
            advice = f"Correct it, or {advice}"
            raise wrong_cell(self.table, self.name, self.cells, others, expected, advice)

    def unvaried(self, value: str) -> DataError:
        """Return the error for a target that tells nothing."""
        return DataError(
            f"{self.table.title}: the target {self.name!r} is {value!r} in every row, so there is "
            "nothing to learn"
        )


def are_booleans(classes: Sequence[str]) -> bool:
    """Return whether these are the classes of a column of booleans."""
    return set(classes) == set(BOOLEANS)


def are_labels(y: np.ndarray) -> np.ndarray:
    """Return which of several targets, shape (rows, targets), are labels: 0 or 1 in every row."""
    return np.asarray(((y == 0) | (y == 1)).all(axis=0))

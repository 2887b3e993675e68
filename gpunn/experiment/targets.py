"""Decides whether the targets of tables, CSV files and arrays are numbers or classes."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from gpunn.config import TableFile
from gpunn.data.csv import MAX_NAME
from gpunn.errors import ConfigError, DataError, suggest
from gpunn.losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from gpunn.rows.cells import Markers, boolean_text, number_of
from gpunn.tables import Table
from gpunn.tables.cells import category_names, coded, numbers_of
from gpunn.tables.encoders.base import check_complete, wrong_cell
from gpunn.tables.encoders.boolean import BOOLEANS
from gpunn.tables.encoders.number import finite_numbers
from gpunn.tables.formats import reading_of
from gpunn.tables.inspection import MAX_CLASSES, class_names, refuse_dates, why_no_classes

CLASSES = "for classes choose the loss 'softmax_cross_entropy'"

SEVERAL = (
    "train a separate network for this target, because each of several targets must be a number, "
    "or a label that is 0 or 1, or true or false"
)


def in_order(names: Iterable[str]) -> list[str]:
    numbers = {name: number_of(name) for name in names}
    if None in numbers.values():
        return sorted(numbers)
    return sorted(numbers, key=lambda name: (numbers[name], name))


def finder(classes: Sequence[str]) -> Callable[[str], int]:
    # A label may also be another spelling of a class that is a number, such as "1.0" for "1".
    indices = {name: index for index, name in enumerate(classes)}
    numbers = {number_of(name): index for name, index in reversed(indices.items())}
    numbers.pop(None, None)
    return lambda label: indices.get(label, numbers.get(number_of(label), -1))


def positions(labels: Sequence[str], classes: Sequence[str], title: str) -> np.ndarray:
    indices = list(map(finder(classes), labels))
    if -1 in indices:
        unknown = labels[indices.index(-1)]
        raise DataError(
            f"{title} contains {unknown!r}, which is not a class of the training data; "
            f"{suggest(unknown, classes)}"
        )
    return np.array(indices, dtype=np.int64)


def check_classes(classes: Sequence[str], loss: Loss, outputs: int) -> None:
    if isinstance(loss, BinaryCrossEntropy) and outputs == 1 and len(classes) > 2:
        raise ConfigError(
            f"training.loss: {loss.name!r} with one output is for two classes, but the target has "
            f"{len(classes)}; choose 'softmax_cross_entropy' and a last layer of {len(classes)} "
            "units"
        )
    if isinstance(loss, SoftmaxCrossEntropy) and 1 < outputs < len(classes):
        raise ConfigError(
            f"model.layers: the target has {len(classes)} classes, but the network has {outputs} "
            f"outputs; give the last layer {len(classes)} units"
        )
    codes = np.arange(len(classes)) % 2
    if outputs == 1 and loss.class_indices(loss.check_targets(codes, outputs)) is None:
        raise ConfigError(
            f"training.loss: {loss.name!r} needs numbers, but the target has classes, such as "
            f"{classes[0]!r}; choose 'softmax_cross_entropy' or, for two classes, "
            "'binary_cross_entropy'"
        )


def label_values(y: np.ndarray, loss: Loss, outputs: int) -> np.ndarray | None:
    """Return the unique numbers in `y`, ascending, if these are class labels; otherwise None."""
    if isinstance(loss, SoftmaxCrossEntropy) and outputs > 1:
        if y.dtype.kind in "iu" and y.min() >= 0 and y.max() < outputs:
            return None
        values = np.unique(y)
        if len(values) > outputs:
            raise DataError(
                f"y: the target has {len(values)} unique numbers, from {values[0]} to "
                f"{values[-1]}, but the network has {outputs} outputs, one per class. Give the "
                f"last layer {len(values)} units; to predict the number itself, choose a loss such "
                "as 'mean_squared_error'"
            )
        return values
    if isinstance(loss, BinaryCrossEntropy) and outputs == 1 and (y.min() < 0 or y.max() > 1):
        values = np.unique(y)
        return values if len(values) == 2 else None
    return None


def label_names(values: np.ndarray) -> list[str]:
    return [str(value) for value in values]


def codes_of_numbers(y: np.ndarray, classes: Sequence[str], title: str) -> np.ndarray:
    values, inverse = np.unique(y, return_inverse=True)
    return np.asarray(positions(label_names(values), classes, title)[inverse])


def is_text(y: np.ndarray) -> bool:
    return y.dtype.kind in "US"


def text_classes(y: np.ndarray, title: str) -> tuple[list[str], np.ndarray]:
    # Spaces at both ends are ignored.
    if y.ndim != 1 and y.shape[1:] != (1,):
        raise DataError(
            f"{title}: expected strings of shape (rows,), one class per row; got shape {y.shape}"
        )
    values, codes = np.unique(np.char.strip(y.reshape(-1)), return_inverse=True)
    names: list[str] = []
    for code, value in enumerate(values):
        try:
            names.append(name_of_class(value))
        except ValueError as error:
            first = int((codes == code).argmax())
            raise DataError(f"{title}, row {first} (counted from 0): {error}") from error
    indices = {name: index for index, name in enumerate(in_order(names))}
    return list(indices), np.array([indices[name] for name in names], dtype=np.int64)[codes]


def name_of_class(value: bytes | str) -> str:
    try:
        text = value.decode() if isinstance(value, bytes) else str(value)
        text.encode()
    except ValueError as error:
        raise ValueError(f"damaged text: {error}") from error
    if text.casefold() in ("", "nan"):
        raise ValueError("the class is missing; fill it in, or remove the row")
    if len(text) > MAX_NAME:
        raise ValueError(f"expected a class name of at most {MAX_NAME} characters; got {len(text)}")
    return text


class TableTargets:
    def __init__(self, table: Table, data: TableFile) -> None:
        markers = Markers.of(data.missing_values)
        self.data = data
        self.columns = [TargetColumn(table, name, markers) for name in data.targets]

    def classes(self, loss: Loss | None) -> list[str] | None:
        """Return the sorted classes of the training rows, or None if the targets are numbers.

        With a cross-entropy, targets are classes; with any other loss, they are numbers. Without a
        loss, strings and Booleans are classes, and so are integers with at most `MAX_CLASSES`
        different values. Several target columns are labels if all values are 0 and 1, else numbers.
        The class that `data.positive` names comes second.
        """
        classes = self.columns[0].classes(loss) if len(self.columns) == 1 else None
        positive = self.data.positive
        if positive is None:
            return classes
        if classes is None or len(classes) != 2:
            actual = "numbers" if classes is None else f"{len(classes)} classes"
            raise ConfigError(
                f"data.positive: needs a target with two classes; this target has {actual}. Remove "
                "the key"
            )
        index = finder(classes)(boolean_text(positive) if are_booleans(classes) else positive)
        if index < 0:
            raise ConfigError(
                f"data.positive: there is no class {positive!r}; {suggest(positive, classes)}"
            )
        return [classes[1 - index], classes[index]]

    def encoded(self, classes: Sequence[str] | None, loss: Loss | None = None) -> np.ndarray:
        if classes is not None:
            return self.columns[0].codes(classes)
        advice = CLASSES if len(self.columns) == 1 else SEVERAL
        numbers = [column.numbers(loss, advice) for column in self.columns]
        return numbers[0] if isinstance(self.data.target, str) else np.column_stack(numbers)

    def check_variation(self, y: np.ndarray) -> None:
        for column, numbers in zip(self.columns, y.reshape(len(y), -1).T, strict=True):
            if (numbers == numbers[0]).all():
                raise column.constant_error(f"{numbers[0]:g}")


class TargetColumn:
    def __init__(self, table: Table, name: str, markers: Markers) -> None:
        if name not in table:
            raise DataError(
                f"{table.title}: there is no target column {name!r}; {suggest(name, table.names)}"
            )
        self.table, self.name, self.markers = table, name, markers
        read = table.column(name)
        self.read = read if isinstance(read, np.ndarray) else read.compact()
        self.cells = coded(self.read)
        self.kind, self.form, _ = reading_of(self.read, markers)
        absent = [text is None for text in category_names(self.cells.values, markers)]
        check_complete(table, name, self.cells.take(np.array(absent, bool), True), "target")

    def classes(self, loss: Loss | None) -> list[str] | None:
        if loss is not None and loss.output_activation not in ("softmax", "sigmoid"):
            return None
        title = f"{self.table.title}: the target {self.name!r}"
        texts = self.names(self.kind == "boolean")
        names = {text for text in texts if text is not None}
        if self.kind == "datetime":
            refuse_dates(self.table, self.name, len(names) if loss is None else 0)
        numbers = [number for text in names if (number := number_of(text)) is not None]
        if loss is None and len(numbers) == len(names):
            integers = all(number % 1 == 0 for number in numbers)
            if not integers or len(names) > MAX_CLASSES:
                return None
        if loss is None and (expected := why_no_classes(names, self.form)):
            self.refuse_text(expected)
        for value, text in enumerate(texts):
            if text is not None and len(text) > MAX_NAME:
                raise DataError(
                    f"{self.table.place(self.name, self.cells.first_row(value))}: expected a class "
                    f"name of at most {MAX_NAME} characters in the target; got {len(text)}. "
                    "Check that this is the target column"
                )
        if len(names) < 2:
            raise self.constant_error(", ".join(names))
        if len(names) == self.table.rows:
            raise DataError(
                f"{title} has a different class in every row, such as {min(names)!r:.80}; check "
                "that this is the target column"
            )
        return in_order(names)

    def codes(self, classes: Sequence[str]) -> np.ndarray:
        find = finder(classes)
        names = self.names(are_booleans(classes))
        indices = [-1 if name is None else find(name) for name in names]
        codes = self.cells.take(np.array(indices, dtype=np.int64), -1)
        if (codes < 0).any():
            row = int((codes < 0).argmax())
            text = str(self.cells.values[self.cells.codes[row]]).strip()
            raise DataError(
                f"{self.table.place(self.name, row)}: {text!r:.80} is not a class of the training "
                f"data; {suggest(text, classes)}"
            )
        return codes

    def numbers(self, loss: Loss | None, advice: str) -> np.ndarray:
        if self.kind == "boolean":
            yes = [name == "True" for name in self.names(True)]
            return self.cells.take(np.array(yes, dtype=np.float64), np.nan)
        why = "" if loss is None else f", because of the loss {loss.name!r}"
        self.refuse_text(f"the target must be a number{why}", advice)
        return finite_numbers(self.table, self.name, self.markers)

    def names(self, booleans: bool) -> list[str | None]:
        texts = class_names(self.cells.values, self.markers)
        return [boolean_text(text) if booleans and text else text for text in texts]

    def refuse_text(self, expected: str, advice: str = CLASSES) -> None:
        _, others = numbers_of(self.read, self.markers)
        if others:
            advice = f"Correct the cell, or {advice}"
            raise wrong_cell(self.table, self.name, self.cells, others, expected, advice)

    def constant_error(self, value: str) -> DataError:
        return DataError(
            f"{self.table.title}: the target {self.name!r} is {value!r} in every row, so there is "
            "nothing to learn; choose another column"
        )


def are_booleans(classes: Sequence[str]) -> bool:
    return set(classes) == set(BOOLEANS)


def are_labels(y: np.ndarray) -> np.ndarray:
    return np.asarray(((y == 0) | (y == 1)).all(axis=0))

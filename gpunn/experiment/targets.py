"""The targets of a table: classes, or numbers of one column or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpunn.config import TableFile
from gpunn.data.csv import LONGEST_NAME
from gpunn.errors import ConfigError, DataError, suggest
from gpunn.experiment.labels import as_number
from gpunn.losses import Loss
from gpunn.rows.cells import number_of
from gpunn.storage.formulas import text_of_cell
from gpunn.tables import Table
from gpunn.tables.cells import Markers, boolean_text, coded, numbers_of, texts_of
from gpunn.tables.findings import plural
from gpunn.tables.inspection import MOST_CLASSES
from gpunn.tables.learning import BOOLEANS, finite_numbers, kind_of
from gpunn.tables.table import Coded

__all__ = [
    "are_labels",
    "check_target",
    "check_variation",
    "in_order",
    "learned_classes",
    "targets_of",
]


CLASSES = "for classes choose the loss 'softmax_cross_entropy'"

SEVERAL = (
    "train a network of its own for it: several targets have to be numbers, or labels that are 0 "
    "and 1 or true and false"
)


def check_target(table: Table, data: TableFile) -> None:
    """Raise a DataError unless a table has every target, with a value in every row."""
    for name in data.targets:
        if name not in table:
            raise DataError(
                f"{table.title}: there is no target {name!r}; {suggest(name, table.names)}"
            )
        missing = absent(table, name, markers_of(data))
        if missing.any():
            count = int(missing.sum())
            more = f", and in {plural(count - 1, 'other row')}" if count > 1 else ""
            raise DataError(
                f"{table.place(name, int(missing.argmax()))}: the target is missing here{more}; "
                "fill it in, or remove such rows"
            )


def check_variation(table: Table, data: TableFile, y: np.ndarray) -> None:
    """Raise a DataError if a target that is numbers is the same in every row to learn from."""
    columns = y.reshape(len(y), -1)
    for name, constant in zip(data.targets, (columns == columns[0]).all(axis=0), strict=True):
        if constant:
            raise unvaried(table, name, f"{columns[0, data.targets.index(name)]:g}")


def are_labels(y: np.ndarray) -> np.ndarray:
    """Return which of several targets, shape (rows, targets), are labels: 0 or 1 in every row."""
    return np.asarray(((y == 0) | (y == 1)).all(axis=0))


def unvaried(table: Table, name: str, value: str) -> DataError:
    """Return the error for a target that tells nothing."""
    return DataError(
        f"{table.title}: the target {name!r} is {value!r} in every row, so there is nothing to "
        "learn"
    )


def learned_classes(table: Table, data: TableFile, loss: Loss | None) -> list[str] | None:
    """Return the classes that the target holds, in order; None if it is numbers.

    The loss decides: a cross-entropy is for classes, every other one for numbers. Without a loss,
    text and booleans are classes, and so are whole numbers of at most `MOST_CLASSES` different
    values. Several targets are numbers, or labels if all are 0 and 1; see `are_labels`.

    Parameters
    ----------
    table : Table
        The training rows, checked by `check_target`.
    data : TableFile
    loss : Loss or None

    Raises
    ------
    DataError
        If there is a single class, or what is there can be neither classes nor numbers.
    """
    if len(data.targets) > 1:
        return None
    (name,), markers = data.targets, markers_of(data)
    if loss is not None and loss.output_activation not in ("softmax", "sigmoid"):
        return None
    if kind_of(table.column(name), markers) == "datetime":
        raise DataError(f"{table.title}: the target {name!r} holds dates; predict a number instead")
    cells = coded(table.column(name)).compact()
    texts = class_texts(cells, markers, kind_of(cells, markers) == "boolean")
    found = {text for text in texts if text is not None}
    numbers = [number for text in found if (number := number_of(text)) is not None]
    if loss is None and len(numbers) == len(found):
        whole = all(number % 1 == 0 for number in numbers)
        if not whole or len(found) > MOST_CLASSES:
            return None
    if loss is None and len(found) > MOST_CLASSES and 2 * len(numbers) > len(found):
        refuse_text(table, name, markers, "as most rows have")
    for value, text in enumerate(texts):
        if text is not None and len(text) > LONGEST_NAME:
            raise DataError(
                f"{table.place(name, cells.first_row(value))}: it is the target, and names of "
                f"classes have at most {LONGEST_NAME} characters; got {len(text)}. Is it the right "
                "column?"
            )
    if len(found) < 2:
        raise unvaried(table, name, ", ".join(found))
    if len(found) == table.rows:
        raise DataError(
            f"{table.title}: the target {name!r} has another class in every row, such as "
            f"{min(found)!r:.80}; is it the right column?"
        )
    if len(numbers) == len(found):
        return sorted(found, key=float)
    return sorted(found)


def in_order(classes: list[str] | None, positive: str | None) -> list[str] | None:
    """Return classes in the order of their numbers: the one that is looked for is the second.

    Raises
    ------
    ConfigError
        If it is none of two classes.
    """
    if positive is None:
        return classes
    if classes is None or len(classes) != 2:
        found = "no classes" if classes is None else f"{len(classes)} classes"
        raise ConfigError(f"data.positive: is for a target of two classes; this one has {found}")
    booleans = set(classes) == set(BOOLEANS)
    place = _Known.of(classes).find(boolean_text(positive) if booleans else positive)
    if place < 0:
        raise ConfigError(
            f"data.positive: there is no class {positive!r}; {suggest(positive, classes)}"
        )
    return [classes[1 - place], classes[place]]


def targets_of(
    table: Table, data: TableFile, classes: Sequence[str] | None, loss: Loss | None = None
) -> np.ndarray:
    """Return the targets of rows: numbers of classes, or numbers.

    Parameters
    ----------
    table : Table
    data : TableFile
    classes : sequence of str or None
        As `learned_classes` found them in the training rows.
    loss : Loss or None
        What takes the targets, for the message if they are no numbers.

    Returns
    -------
    ndarray of int64 or float64, shape (rows,), or (rows, targets) if a list of them was given

    Raises
    ------
    DataError
        If a target is missing, no number, or none of the classes; the message says where.
    """
    check_target(table, data)
    markers = markers_of(data)
    if classes is not None:
        return class_codes(table, data.targets[0], classes, markers)
    advice = CLASSES if len(data.targets) == 1 else SEVERAL
    columns = [numbers_in(table, name, markers, loss, advice) for name in data.targets]
    return columns[0] if isinstance(data.target, str) else np.column_stack(columns)


@dataclass(frozen=True)
class _Known:
    """Classes by name, and by the numbers that the names spell."""

    names: dict[str, int]
    numbers: dict[float | None, int]

    @classmethod
    def of(cls, classes: Sequence[str]) -> _Known:
        names = {text: place for place, text in enumerate(classes)}
        numbers = {as_number(text): place for text, place in reversed(names.items())}
        numbers.pop(None, None)
        return cls(names, numbers)

    def find(self, text: str) -> int:
        return self.names.get(text, self.numbers.get(as_number(text), -1))


def class_codes(table: Table, name: str, classes: Sequence[str], markers: Markers) -> np.ndarray:
    """Return the place of each row's class; 1.0 is the class 1."""
    known = _Known.of(classes)
    cells = coded(table.column(name))
    texts = class_texts(cells, markers, set(classes) == set(BOOLEANS))
    found = [-1 if text is None else known.find(text) for text in texts]
    codes = cells.take(np.array(found, dtype=np.int64), -1)
    if (codes < 0).any():
        row = int((codes < 0).argmax())
        text = str(cells.values[cells.codes[row]]).strip()
        raise DataError(
            f"{table.place(name, row)}: {text!r:.80} is no class of the training data; "
            f"{suggest(text, classes)}"
        )
    return codes


def numbers_in(
    table: Table, name: str, markers: Markers, loss: Loss | None, advice: str
) -> np.ndarray:
    """Return the numbers of a target; true and false are 1 and 0."""
    if kind_of(table.column(name), markers) == "boolean":
        cells = coded(table.column(name))
        yes = [boolean_text(text or "") == "True" for text in texts_of(cells.values, markers)]
        return cells.take(np.array(yes, dtype=np.float64), np.nan)
    why = "" if loss is None else f"as the loss {loss.name!r} takes"
    refuse_text(table, name, markers, why, advice)
    return finite_numbers(table, name, markers)


def refuse_text(table: Table, name: str, markers: Markers, why: str, advice: str = CLASSES) -> None:
    """Raise a DataError if a target that should be numbers has something else."""
    cells = table.column(name)
    _, others = numbers_of(cells, markers)
    if not others:
        return
    cells = coded(cells)
    wrong = np.isin(cells.codes, others)
    row, more = int(wrong.argmax()), int(wrong.sum()) - 1
    further = f", and so {'is' if more == 1 else 'are'} {more:,} more" if more else ""
    value = cells.values[cells.codes[row]]
    raise DataError(
        f"{table.place(name, row)}: the target should be a number{f', {why}' if why else ''}; got "
        f"{value!r:.80}{further}. Correct it, or {advice}"
    )


def class_texts(cells: Coded, markers: Markers, are_booleans: bool) -> list[str | None]:
    """Return the name of the class that each value stands for; None if it is a missing one."""
    values = [text_of_cell(each) if isinstance(each, str) else each for each in cells.values]
    texts = texts_of(values, markers)
    return [boolean_text(text) if are_booleans and text else text for text in texts]


def absent(table: Table, name: str, markers: Markers) -> np.ndarray:
    """Return which rows of a column have no value."""
    cells = coded(table.column(name))
    texts = texts_of(cells.values, markers)
    return cells.take(np.array([text is None for text in texts], dtype=bool), True)


def markers_of(data: TableFile) -> Markers:
    """Return the cells that mean a missing value."""
    return Markers.of(data.missing_values)

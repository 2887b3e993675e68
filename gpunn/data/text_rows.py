"""Open text files as rows of cells, and convert cells to numbers."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from gpunn.errors import DataFileError
from gpunn.rows.csv_rows import SAMPLE_CHARACTERS, Row, detect_delimiter, rows_of_csv
from gpunn.rows.lines import Lines, RowsError, chunks_of
from gpunn.storage.reading import open_file


@contextlib.contextmanager
def open_rows(path: str, delimiter: str | None) -> Iterator[tuple[str, Iterator[Row]]]:
    # Problems raise a DataFileError, immediately or while rows are read.
    with (
        open_file(path, DataFileError) as file,
        DataFileError.instead_of(RowsError, prefix=f"{path}: "),
    ):
        lines = Lines(chunks_of(file))
        delimiter = delimiter or detect_delimiter(lines.ahead(SAMPLE_CHARACTERS))
        yield delimiter, rows_of_csv(lines, delimiter)


def numbers_of(cells: Sequence[str]) -> np.ndarray | None:
    if "_" in "".join(cells):  # Python accepts 1_000 as a number; tables do not
        return None
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return None

"""The bundled table: 988 loans, with text and gaps."""

from __future__ import annotations

from pathlib import Path

__all__ = ["credit_risk_file"]


def credit_risk_file() -> Path:
    """Return the path of the CSV file of loans that comes with gpunn.

    It holds every 33rd row, beginning with the first, of L. Tse's "Credit Risk Dataset", Kaggle,
    2020, https://www.kaggle.com/datasets/laotse/credit-risk-dataset, cell by cell as published:
    988 rows of 12 columns, 4 of them text, with empty cells in `person_emp_length` and
    `loan_int_rate`, and in its first row someone of 22 who has been employed for 123 years. The
    column to predict is `loan_status`: 1 if the loan was not paid back, as 219 of them. The set is
    in the public domain (CC0 1.0).

    A command gets a copy of it by `gpunn example`.

    Returns
    -------
    Path
        For `gpunn.tables.read_table`, `pandas.read_csv` and the like.

    Examples
    --------
    >>> from gpunn.data import credit_risk_file
    >>> from gpunn.tables import read_table
    >>> table = read_table(credit_risk_file())
    >>> len(table), table.names[:3]
    (988, ('person_age', 'person_income', 'person_home_ownership'))
    """
    return Path(__file__).with_name("credit_risk.csv")

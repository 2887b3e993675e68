"""The bundled table: 988 loans, with text and missing values."""

from __future__ import annotations

from pathlib import Path


def credit_risk_file() -> Path:
    """Return the path of the CSV file of loans that comes with gpunn.

    The file has every 33rd row, starting with the first, of L. Tse's "Credit Risk Dataset", Kaggle,
    2020, https://www.kaggle.com/datasets/laotse/credit-risk-dataset. Of 12 columns, 4 are text;
    `person_emp_length` and `loan_int_rate` have empty cells. The first row has a mistake: a person
    of 22 years who has been employed for 123 years. The column to predict is `loan_status`: 1 for
    the 219 loans that were not paid back, else 0. The data set is in the public domain (CC0 1.0).

    On the command line, `gpunn example` makes a copy of the file.

    Returns
    -------
    Path
        The path of the file, for `gpunn.tables.read_table`, `pandas.read_csv` and other readers.

    Examples
    --------
    >>> from gpunn.data import credit_risk_file
    >>> from gpunn.tables import read_table
    >>> table = read_table(credit_risk_file())
    >>> len(table), table.names[:3]
    (988, ('person_age', 'person_income', 'person_home_ownership'))
    """
    return Path(__file__).with_name("credit_risk.csv")

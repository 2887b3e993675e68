"""Docstrings that share entries."""

import inspect

import pytest

from gpunn.docstrings import completed


class First:
    """The first class.

    Parameters
    ----------
    a, b : int
        Two numbers.
    c : str
        A name.

        * "x": its value

    Attributes
    ----------
    d : float
        A result.
    """


class Second:
    """The second class.

    Parameters
    ----------
    c : bytes
        Another name.
    e : int
        A size.

    Examples
    --------
    >>> 1
    1
    """


FIRST = "a, b : int\n    Two numbers."
NAME = 'c : str\n    A name.\n\n    * "x": its value'
SECOND = "c : bytes\n    Another name."
SIZE = "e : int\n    A size."


@pytest.mark.parametrize(
    ("cls", "other", "section", "order", "entries"),
    [
        (Second, First, "Parameters", None, [FIRST, SECOND, SIZE]),
        (First, Second, "Parameters", None, [NAME, SIZE, FIRST]),
        (Second, First, "Parameters", "ebx", [SIZE, FIRST]),
        (Second, First, "Attributes", None, ["d : float\n    A result."]),
        (First, Second, "Attributes", None, ["d : float\n    A result."]),
    ],
    ids=["own first", "reversed", "order", "added section", "own section"],
)
def test_entries_of_another_class(cls, other, section, order, entries):
    text = completed(cls, [other], section, order)
    assert "\n".join((section, "-" * len(section), *entries, "")) in text
    assert text.count(section) == text.count("\nParameters\n") == 1
    assert (">>> 1\n1\n" in text) == (cls is Second)


def test_other_parameters_are_not_parameters():
    class Third:
        """The third class.

        Other Parameters
        ----------------
        f : float
            A factor.
        """

    assert completed(Second, [Third], "Parameters") == inspect.cleandoc(Second.__doc__) + "\n"
    assert completed(Third, [], "Parameters") == inspect.cleandoc(Third.__doc__) + "\n"


def test_the_first_class_has_priority():
    class Third:
        """The third class."""

    assert SECOND in completed(Third, [Second, First], "Parameters")
    assert NAME in completed(Third, [First, Second], "Parameters")

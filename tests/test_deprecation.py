"""Names that are on their way out warn in the caller's line, and go when their version comes."""

import importlib
import pkgutil

import pytest

import gpunn.training
from gpunn.deprecation import DEPRECATED, deprecated, renamed_argument
from gpunn.errors import ArgumentTypeError
from gpunn.version import __version__


class Counter:
    """Has names of before and of now."""

    @property
    def count(self):
        return 3

    @property
    @deprecated("count", removed_in="9.0")
    def number(self):
        """Earlier name of `count`."""
        return self.count

    @renamed_argument("lr", "rate", removed_in="9.0")
    def step(self, x, rate=0.5):
        return x - rate


def test_a_name_warns_where_it_is_used():
    message = r"Counter.number is deprecated and will be removed in gpunn 9.0; use count instead"
    with pytest.warns(DeprecationWarning, match=message) as caught:
        assert Counter().number == 3
    assert [each.filename for each in caught] == [__file__]
    assert Counter.number.__doc__ == "Earlier name of `count`."


def test_an_argument_is_taken_by_both_names():
    with pytest.warns(DeprecationWarning, match=r"step\(lr=...\).* use rate=... instead") as caught:
        assert Counter().step(1, lr=0.25) == 0.75
    assert [each.filename for each in caught] == [__file__]
    assert Counter().step(1, rate=0.25) == 0.75
    assert Counter().step(1, 0.25) == 0.75
    assert Counter().step(1) == 0.5


def test_an_argument_is_given_once():
    with pytest.raises(ArgumentTypeError, match="lr: expected rate alone, got both"):
        Counter().step(1, lr=0.25, rate=0.25)


def test_what_was_to_be_removed_is_gone():
    for module in pkgutil.walk_packages(gpunn.training.__path__, "gpunn.training."):
        importlib.import_module(module.name)
    current = version(__version__)
    overdue = [name for name, removed_in in DEPRECATED.items() if version(removed_in) <= current]
    assert overdue == []
    assert "gpunn.training.trainer.Trainer.figures" in DEPRECATED


def version(text):
    """Return the numbers of a version, of which 0.2 and 0.2.0 are one."""
    return [*map(int, text.split(".")), 0, 0][:3]

"""The values that a sweep tries, as a range or list of choices for the path of each key."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gpunn.config.toml import toml_text
from gpunn.configurable import field_names, key_path
from gpunn.errors import ArgumentError
from gpunn.schema import typed

MOST_IN_GRID = 10_000
"""Maximum number of values of one key in a grid search; more values would take too long."""


@dataclass(frozen=True, kw_only=True)
class SearchRange:
    """The values that a sweep may choose for a key.

    If `low` and `high` are integers, all numbers are integers.

    Parameters
    ----------
    low, high : int, float or None
        The smallest and the largest number, or None with `choices`.
    log : bool
        Whether numbers are drawn evenly on a logarithmic scale.
    step : int, float or None
        The distance between consecutive numbers; the first number is `low`.
    choices : list or None
        Different values of any TOML type, including tables.

    Raises
    ------
    ArgumentError
        If `low` is not below `high`, or if `log` or `step` does not fit `low` and `high`.

    Examples
    --------
    >>> from gpunn.config import SearchRange
    >>> print(SearchRange(low=0.0001, high=0.1, log=True))
    0.0001 to 0.1, logarithmic
    >>> list(SearchRange(low=8, high=32, step=8).grid)
    [8, 16, 24, 32]
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: int | float | None = None
    choices: list[Any] | None = None

    def __post_init__(self) -> None:
        if self.choices is not None:
            self._check_choices(self.choices)
        else:
            self._check_numbers()

    def _check_choices(self, choices: list[Any]) -> None:
        for key in ("low", "high", "step"):
            if getattr(self, key) is not None:
                raise ArgumentError(f"{key}: cannot be combined with 'choices'")
        if self.log:
            raise ArgumentError("log: cannot be combined with 'choices'")
        if not choices:
            raise ArgumentError("choices: expected a list of length >= 1; got []")
        for index, choice in enumerate(choices):
            with ArgumentError.instead_of(ArgumentError, prefix=f"choices[{index}]: "):
                toml_text(choice)
        labels = list(map(label, choices))
        if any(one in labels[:index] for index, one in enumerate(labels)):
            raise ArgumentError(f"choices: expected unique values; got {choices!r:.200}")

    def _check_numbers(self) -> None:
        for key in ("low", "high"):
            value = getattr(self, key)
            if value is None:
                raise ArgumentError(f"{key}: set this key, or set 'choices'")
            if not abs(value) <= sys.float_info.max:  # including integers too large for a float
                raise ArgumentError(f"{key}: expected a finite number; got {value!r:.40}")
        assert self.low is not None
        assert self.high is not None
        if self.low >= self.high:
            raise ArgumentError(f"high: expected a number > low = {self.low}; got {self.high}")
        if self.log and self.low <= 0:
            raise ArgumentError(f"low: expected a number > 0, since 'log' is set; got {self.low}")
        if self.step is not None:
            self._check_step(self.step, self.low, self.high)

    def _check_step(self, step: float, low: float, high: float) -> None:
        if self.log:
            raise ArgumentError("step: cannot be combined with 'log'")
        if self.whole and not isinstance(step, int):
            raise ArgumentError(
                f"step: expected an integer, since low and high are integers; got {step!r}"
            )
        if not 0 < step <= sys.float_info.max:
            raise ArgumentError(f"step: expected a number > 0; got {step!r}")
        # In decimal, so that 0.3 is three times 0.1.
        if (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)) != 0:
            raise ArgumentError(
                f"step: expected a divisor of high - low = {high} - {low}; got {step}"
            )

    @property
    def whole(self) -> bool:
        """Whether `low` and `high` are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def extremes(self) -> list[Any]:
        """A list of the smallest and the largest number, or of all choices."""
        return [self.low, self.high] if self.choices is None else list(self.choices)

    @property
    def grid(self) -> Sequence[Any]:
        """All values; empty for a continuous range."""
        if self.choices is not None:
            return self.choices
        assert self.low is not None
        assert self.high is not None
        if isinstance(self.low, int) and isinstance(self.high, int):
            return range(self.low, self.high + 1, int(self.step or 1))
        if self.step is None:
            return ()
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        count = int((Decimal(str(self.high)) - low) / step) + 1
        return [float(low + number * step) for number in range(min(count, MOST_IN_GRID + 1))]

    @property
    def labels(self) -> dict[Any, Any]:
        """Maps labels to choices. A label is what a study stores for a choice.

        The label of a list or table is its text in TOML. Every other choice equals its label.
        """
        return {label(choice): choice for choice in self.choices or ()}

    def plain(self) -> dict[str, Any]:
        """Return the attributes that are set, as plain data for a configuration.

        Returns
        -------
        dict
            A dictionary of the attributes that are neither None nor False.
        """
        values = {name: getattr(self, name) for name in field_names(type(self))}
        return {key: it for key, it in values.items() if it is not None and it is not False}

    def __str__(self) -> str:
        if self.choices is not None:
            return " | ".join(map(toml_text, self.choices))
        kind = "integers " if self.whole else ""
        step = "" if self.step is None else f", in steps of {self.step}"
        return f"{kind}{self.low} to {self.high}{', logarithmic' if self.log else ''}{step}"


KEYS = frozenset(field_names(SearchRange))


def label(choice: Any) -> Any:
    return toml_text(choice) if isinstance(choice, (list, dict)) else choice


def search_space(path: str, value: dict[str, Any]) -> dict[str, SearchRange]:
    # The keys of the table are paths such as "training.batch_size". If a path is written without
    # quotes, TOML reads it as nested tables.
    space: dict[str, SearchRange] = {}
    for key, table in leaves(value):
        if key in space:
            raise ArgumentError(f"{key_path(path, key)}: this key is repeated; remove one")
        if key.partition(".")[0] in ("sweep", "backend"):
            raise ArgumentError(f"{key_path(path, key)}: trials cannot vary this key; remove it")
        if not isinstance(table, dict):
            values = toml_text(table if isinstance(table, list) else [table])
            raise ArgumentError(
                f"{key_path(path, key)}: expected a table, such as {{ choices = {values} }} or "
                f"{{ low = 1, high = 9 }}; got {table!r:.80}"
            )
        space[key] = typed(SearchRange, table, key_path(path, key))
    if not space:
        raise ArgumentError(
            f"{path}: expected at least one key with its values, such as "
            '"training.batch_size" = { choices = [32, 64] }'
        )
    return space


def check_grid(space: Mapping[str, SearchRange]) -> None:
    for path, each in space.items():
        if each.log:
            raise ArgumentError(
                f"parameters.{path}.log: the sampler 'grid' needs evenly spaced values; remove log"
            )
        if not each.grid:
            raise ArgumentError(
                f"parameters.{path}.step: the sampler 'grid' tries all values, so it needs 'step' "
                "or 'choices'"
            )
        if len(each.grid) > MOST_IN_GRID:
            raise ArgumentError(
                f"parameters.{path}: expected at most {MOST_IN_GRID:,} values for 'grid'; got more"
            )


def leaves(table: Mapping[str, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        here = key_path(outer, key)
        if isinstance(value, dict) and value and not KEYS.intersection(value):
            yield from leaves(value, here)
        else:
            yield here, value

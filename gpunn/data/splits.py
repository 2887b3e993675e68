"""Split rows at random, by time or by group into training rows and held-out rows."""

import math

import numpy as np

from gpunn.configurable import check_integer, check_number
from gpunn.errors import ArgumentError, DataError
from gpunn.randomness import generator
from gpunn.typing import HostArray

MAX_ORDERS = 20

MAX_GROUPS = 20_000
"""Maximum total number of groups in all orders that are tried; the first order is always tried."""


def split_rows(
    rows: int, fraction: float, seed: int, labels: HostArray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split the indices `0 .. rows-1` at random into kept and held-out rows, both ascending.

    `ceil(fraction * rows)` rows are held out. With `labels`, one for each row, the split is
    stratified: `fraction` of each class is held out.

    >>> kept, held_out = split_rows(5, 0.4, seed=0)
    >>> len(kept), len(held_out)
    (3, 2)
    """
    rows = check_integer("rows", rows, at_least=0)
    seed = check_integer("seed", seed, at_least=0, at_most=math.inf)
    held = held_rows(rows, fraction)
    random = generator(seed, "split")
    if labels is None:
        chosen = random.permutation(rows)[:held]
    else:
        groups = _rows_by_class(labels, rows)
        quotas = _apportion(np.array([len(group) for group in groups]), held)
        chosen = np.concatenate(
            [random.permutation(group)[:quota] for group, quota in zip(groups, quotas, strict=True)]
        )
    is_held = np.zeros(rows, dtype=bool)
    is_held[chosen] = True
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def split_times(times: HostArray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into earlier rows, which are kept, and the latest rows, which are held out.

    Rows with the same time stay together. The number of held-out rows is as close as possible to
    `ceil(fraction * rows)`.

    >>> kept, held_out = split_times([2020, 2022, 2021, 2022, 2020], 0.3)
    >>> kept.tolist(), held_out.tolist()
    ([0, 2, 4], [1, 3])
    """
    times = np.asarray(times)
    held = held_rows(len(times), fraction)
    starts, counts = np.unique(times, return_counts=True)
    if len(starts) < 2:
        raise DataError("all rows have the same time, so none are later than others")
    later = np.cumsum(counts[:0:-1])[::-1]  # rows at or after each time except the first
    first = starts[1 + int(np.abs(later - held).argmin())]
    return np.flatnonzero(times < first), np.flatnonzero(times >= first)


def split_groups(
    groups: HostArray, fraction: float, seed: int, labels: HostArray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows at random into kept and held-out rows; no group has rows in both subsets.

    The wanted number of held-out rows is `ceil(fraction * rows)`. The function tries up to 20
    random orders of the groups, and uses the split closest to the wanted number. With `labels`,
    the classes' held-out fractions are also close to `fraction`. If possible, at least one group
    with rows of each class is kept.
    """
    groups, seed = np.asarray(groups), check_integer("seed", seed, at_least=0, at_most=math.inf)
    held = held_rows(len(groups), fraction)
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise DataError("all rows belong to one group; a split needs at least two groups")
    # Choose the smaller subset. With labels, choose the held-out rows: no choice has a whole class.
    wanted = held if labels is not None else min(held, len(groups) - held)
    random = generator(seed, "split")
    counted = _Counts(codes, sizes, labels)
    choices = [
        _Choice(counted, wanted, random.permutation(len(sizes)).tolist())
        for _ in range(max(1, min(MAX_ORDERS, MAX_GROUPS // len(sizes))))
    ]
    is_held = np.isin(codes, min(choices, key=_Choice.distance).groups)
    if wanted < held:
        is_held = ~is_held
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def held_rows(rows: int, fraction: float) -> int:
    fraction = check_number("fraction", fraction, above=0, below=1)
    # The inner rounding removes the rounding error of products such as 0.1 * 30.
    held = math.ceil(round(fraction * rows, 6))
    if not 0 < held < rows:
        raise ArgumentError(
            f"fraction: {fraction!r} of {rows} rows would hold out {held} rows and keep "
            f"{rows - held}; each of the two splits needs at least one row"
        )
    return held


def _rows_by_class(labels: HostArray, rows: int) -> list[np.ndarray]:
    labels = np.asarray(labels)
    if labels.shape != (rows,):
        raise DataError(f"labels: expected shape ({rows},), got {labels.shape}")
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if counts.min() < 2:
        rare = classes[counts.argmin()].item()
        raise DataError(
            f"labels: class {rare!r} has only one row, which can't be in both splits; remove "
            "the row, or split without labels"
        )
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])


def _apportion(counts: np.ndarray, total: int) -> np.ndarray:
    """Divide `total` among classes in proportion to `counts` (largest-remainder method)."""
    quotas, remainders = np.divmod(counts * total, counts.sum())
    largest = np.argsort(-remainders, kind="stable")[: total - quotas.sum()]
    quotas[largest] += 1
    return quotas


class _Counts:
    def __init__(self, codes: np.ndarray, sizes: np.ndarray, labels: HostArray | None) -> None:
        self.sizes: list[int] = sizes.tolist()
        self.classes: list[list[tuple[int, int]]] = [[] for _ in self.sizes]
        """For each group, the classes of its rows, and the number of rows of each class."""
        self.totals: list[int] = []
        if labels is None:
            return
        _, label_codes, totals = np.unique(labels, return_inverse=True, return_counts=True)
        self.totals = totals.tolist()
        pairs, counts = np.unique(codes * len(totals) + label_codes, return_counts=True)
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
            group, label = divmod(pair, len(totals))
            self.classes[group].append((label, count))


class _Choice:
    def __init__(self, counts: _Counts, wanted: int, order: list[int]) -> None:
        self.counts, self.wanted = counts, wanted
        fraction = wanted / sum(counts.sizes)
        self.wanted_of_class = [fraction * total for total in counts.totals]
        self.of_class = [0] * len(counts.totals)
        self.rows = 0
        self.groups: list[int] = []
        rest = [each for each in order if not self._added(each, stratified=True)]
        if counts.totals:
            rest = [each for each in rest if not self._added(each, stratified=False)]
        # No other group fits. The group that exceeds `wanted` by the least may come closer.
        free = [each for each in rest if not self._empties_class(each)] or rest
        if free and len(rest) > 1:
            best = min(free, key=lambda each: counts.sizes[each])
            missing = wanted - self.rows
            if counts.sizes[best] - missing < missing or not self.groups:
                self._add(best)

    def distance(self) -> tuple[int, float]:
        pairs = zip(self.of_class, self.wanted_of_class, self.counts.totals, strict=True)
        return abs(self.rows - self.wanted), sum(
            (rows - wanted) ** 2 / total for rows, wanted, total in pairs
        )

    def _added(self, group: int, *, stratified: bool) -> bool:
        fits = self.rows + self.counts.sizes[group] <= self.wanted
        if not fits or self._empties_class(group) or (stratified and self._gain(group) < 0):
            return False
        self._add(group)
        return True

    def _empties_class(self, group: int) -> bool:
        return any(
            self.of_class[label] + count == self.counts.totals[label]
            for label, count in self.counts.classes[group]
        )

    def _gain(self, group: int) -> float:
        gain = 0.0
        for label, count in self.counts.classes[group]:
            missing = self.wanted_of_class[label] - self.of_class[label]
            gain += (missing**2 - (missing - count) ** 2) / self.counts.totals[label]
        return gain

    def _add(self, group: int) -> None:
        self.groups.append(group)
        self.rows += self.counts.sizes[group]
        for label, count in self.counts.classes[group]:
            self.of_class[label] += count

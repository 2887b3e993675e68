"""Divide rows into folds: each row is held out once, and groups stay together."""

import warnings

import numpy as np

from gpunn.errors import ArgumentError, DataError, GpunnWarning
from gpunn.meaning import plural
from gpunn.randomness import generator
from gpunn.sklearn.held_out import SplitBy


def folds_of(
    count: int,
    rows: int,
    seed: int,
    labels: np.ndarray | None,
    weights: np.ndarray | None,
    split_by: SplitBy,
) -> np.ndarray:
    # The folds have nearly equal numbers of rows, in total and for each class. Rows with a weight
    # of 0, which don't count in a metric, are distributed separately in the same way.
    is_counted = np.ones(rows, bool) if weights is None else weights > 0
    if split_by is not None:
        folds = folds_of_groups(count, is_counted, seed, labels, split_by)
    elif is_counted.sum() < count:
        counted = "rows" if weights is None else "rows with a weight above 0"
        raise DataError(
            f"n_cv: {count} folds need at least {count} {counted}; got n_samples={is_counted.sum()}"
        )
    else:
        order = generator(seed, "folds").permutation(rows)
        classes = np.zeros(rows, int) if labels is None else labels
        order = order[np.lexsort((classes[order], ~is_counted[order]))]
        folds = np.empty(rows, int)
        folds[order] = np.arange(rows) % count
    if missing := set(range(count)) - set(folds[is_counted].tolist()):
        raise DataError(
            f"sample_weight: all rows of {len(missing)} of the {count} folds have a weight of "
            "zero; use a smaller n_cv"
        )
    if labels is not None:
        pairs = np.unique(np.stack([labels, folds]), axis=1)
        single = int((np.bincount(pairs[0]) == 1).sum())
        if single:
            warnings.warn(
                f"n_cv: y has {plural(single, 'class')} with rows in only one fold, so the "
                "networks that predict such rows have never seen their class",
                GpunnWarning,
                stacklevel=4,
            )
    return folds


def folds_of_groups(
    count: int,
    is_counted: np.ndarray,
    seed: int,
    labels: np.ndarray | None,
    split_by: tuple[str, np.ndarray],
) -> np.ndarray:
    # The groups are placed one after the other, the largest first. Each group goes into the fold
    # that has the fewest rows of the group's classes. Groups whose rows all have the weight 0 come
    # last, so that each fold gets another group.
    (kind, values), rows = split_by, len(is_counted)
    if kind == "time":
        raise ArgumentError(
            f"times: cannot be combined with n_cv={count}, since networks would learn from rows "
            "that are later than their validation rows. Use n_cv=1, which holds out the latest "
            "rows, and n_ens for several networks"
        )
    if len(values) != rows:
        raise DataError(f"groups: expected one value for each of {rows} rows; got {len(values)}")
    _, groups, sizes = np.unique(values, return_inverse=True, return_counts=True)
    if len(sizes) < count:
        raise DataError(f"groups: {count} folds need at least {count} groups; got {len(sizes)}")
    classes = np.zeros(rows, int) if labels is None else labels
    counts = np.zeros((len(sizes), int(classes.max()) + 1))
    np.add.at(counts, (groups, classes), 1)
    shares = counts / np.maximum(counts.sum(axis=0), 1)  # of the rows of each class
    order = generator(seed, "folds").permutation(len(sizes))
    folds, loads, held = np.empty(len(sizes), int), np.zeros((count, shares.shape[1])), [0] * count
    without_weight = np.bincount(groups, is_counted) == 0
    for group in order[np.lexsort((-sizes[order], without_weight[order]))].tolist():
        crowding = (loads @ shares[group]).tolist()
        fold = min(range(count), key=lambda each: (crowding[each], held[each]))
        folds[group] = fold
        loads[fold] += shares[group]
        held[fold] += int(sizes[group])
    return folds[groups]

"""The cases of the parity tests, with shapes small enough to run each device thread on the host."""

from itertools import chain
from unittest import mock

from parity import operations, windows

# Small, but with several blocks of each kind: of 4 rows, of 32 columns, of 128 elements, of 2048
# numbers to sum. No block is full, and rows are longer than a warp. Three blocks share a column.
SMALL = {
    "CHUNK": 40,
    "SHAPES": ((0, 4), (1, 1), (1, 7), (6, 5), (37, 70)),
    "BATCHES": ((0, 4), (1, 3), (7, 2), (5, 70), (13, 10)),
    "TALL": ((300, 3),),
    "NORMALIZED": ((1, 1), (1, 6), (2, 3), (64, 10), (5, 70), (41, 2), (300, 3)),
    "WIDTHS": (1, 5, 5000),
    "MEMBERS": ((1, 1, 1), (7, 3, 5), (13, 1, 33), (13, 2, 20)),
    "MEMBER_MEANS": ((1, 1, 1), (6, 3, 4), (5, 3, 70)),
    "EMBEDDED": ((1, 1, 1), (7, 3, 5), (13, 2, 9)),
    "TABLES": ((1, [3]), (7, [2, 5]), (33, [4, 40]), (140, [9])),
}

SMALL_WINDOWS = {"LARGE_IMAGES": [], "GROUPED": windows.GROUPED[:-1]}


def small_cases() -> list[operations.Case]:
    """Return all cases except products, which cuBLAS computes, and operations for several ranks.

    A convolution consists of kernels and products.
    """
    with (
        mock.patch.multiple(operations, **SMALL),
        mock.patch.multiple(windows, **SMALL_WINDOWS),
    ):
        generators = *operations.GENERATORS, windows.convolutions, windows.pools
        return list(chain.from_iterable(generate() for generate in generators))


INSERTED = {
    **dict.fromkeys(
        (
            *("layer_norm_activate", "layer_norm_activation_gradient"),
            *("parametric_activate", "parametric_activation_gradient"),
            *("activate", "activation_gradient"),  # without a bias, all formulas
        ),
        ("gelu", "identity", "relu", "sigmoid"),
    ),
    **dict.fromkeys(
        ("update", "update_if_finite", "clipped_update"), ("adam", "lamb", "lars", "sgd")
    ),
}
"""Operations whose kernels insert the formulas of other operations (`activate`,
`activation_gradient`, `counted_update`), and those that an emulated device runs by default."""


def few_cases() -> list[operations.Case]:
    """Return the small cases that emulated devices run by default."""
    return [
        case
        for case in small_cases()
        if case.operation not in INSERTED
        or (function := case.name.split("-")[1]) in INSERTED[case.operation]
        or function[0].isdigit()  # a case of sizes
        or case.name.endswith("-no_bias")
    ]

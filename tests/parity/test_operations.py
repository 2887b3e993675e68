import itertools
import zlib
from collections import defaultdict

import pytest
from devices import DEVICE, TARGETS, in_which_run
from kernels.cases import few_cases
from parity.operations import CASES as OTHER_CASES
from parity.operations import LAYOUTS, PRODUCTS, Case, check, of_ranks
from parity.windows import convolutions, pools

from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.operations import OPERATION_NAMES

CASES = [*OTHER_CASES, *convolutions(), *pools()]


def grouped(cases: list[Case]) -> dict[str, list[Case]]:
    groups = defaultdict(list)
    for case in cases:
        groups["-".join(case.name.split("-")[:2])].append(case)
    return groups


# An emulated device runs each thread on the host, so only the full run has large arrays there.
SMALL = [*few_cases(), *itertools.chain.from_iterable(make() for make in (*PRODUCTS, of_ranks))]
CHOSEN = SMALL if DEVICE == "emulated" else CASES
GROUPS, ALL_GROUPS = grouped(CHOSEN), grouped(CASES)
LARGEST = {case.operation: case for case in CHOSEN}  # the last one is kept


NAMES = set(OPERATION_NAMES)


def runs():
    """Yield each group of cases on each target, as the oracle's results of a group are kept.

    Only one group of each operation is run in float64: functions and kernels have the same source
    for both types, as a test of `tests/kernels` checks.
    """
    for group, target in itertools.product(GROUPS, TARGETS):
        last = GROUPS[group][-1]
        if target[1] == "float32" or last is LARGEST[last.operation]:
            name = "-".join(target)
            yield pytest.param(target, group, id=f"{name}-{group}", marks=in_which_run(name))


def number(case: Case) -> int:
    return zlib.crc32(case.name.encode())


def sampled(cases: list[Case]) -> list[Case]:
    """Return about a third of a group's cases, always the same, and the last one.

    Sizes are independent of functions: all formulas share the loops over memory.
    """
    return [case for case in cases if case is cases[-1] or number(case) % 3 == 0]


def other_layout(case: Case) -> tuple[str, ...]:
    """Return a layout that is not contiguous: all that are take one way through the operations."""
    return LAYOUTS[1:][number(case) % 2 :][:1]


FILLS = ["cupy_copy__float_float32"]
"""CuPy's kernel that fills an array gets its number as a double, and computes nothing."""


@pytest.mark.parametrize(("target", "group"), list(runs()), indirect=["target"])
def test_gives_the_results_of_the_base(target, group, no_float64, proved):
    """Run a sample of cases in float32, and the largest in float64.

    NumPy's lowerings run every third case in a second layout. Plain definitions and a device have
    one only for each operation's largest case, since formulas access memory in the same way. Plain
    definitions on another array library run every third case, in one layout.
    """
    cases = sampled(GROUPS[group]) if target.dtype == "float32" else GROUPS[group][-1:]
    has_forms = isinstance(target.backend, NumpyBackend)
    if not has_forms and not DEVICE:
        cases = cases[::-3][::-1]
    for place, case in enumerate(reversed(cases)):  # the largest first
        both = case is LARGEST[case.operation] or (has_forms and place % 3 == 0)
        layouts = LAYOUTS[:1]
        if both and target.dtype == "float32":
            layouts += other_layout(case)
        with no_float64(target.dtype, FILLS):
            check(target.backend, target.dtype, case, layouts)
        proved("operation cases agree with the oracle", len(layouts))


@pytest.mark.full
@pytest.mark.parametrize("group", ALL_GROUPS, scope="module")
@pytest.mark.parametrize("target", TARGETS, ids="-".join, indirect=True)
def test_every_case_gives_the_results_of_the_base_in_every_layout(target, group, proved):
    for case in ALL_GROUPS[group]:
        check(target.backend, target.dtype, case)
    proved("operation cases agree with the oracle", len(LAYOUTS) * len(ALL_GROUPS[group]))


def test_every_operation_has_a_case():
    assert {case.operation for case in CASES} == NAMES - {"call"}


def test_names_of_cases_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)

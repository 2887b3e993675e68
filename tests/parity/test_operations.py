from collections import defaultdict

import pytest
from devices import TARGETS
from parity.operations import CASES, LAYOUTS, Case, check

from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.operations import Operations
from gpunn.backends.recording import is_operation

GROUPS: dict[str, list[Case]] = defaultdict(list)
for case in CASES:
    GROUPS["-".join(case.name.split("-")[:2])].append(case)
LARGEST = {case.operation: case for case in CASES}  # the last one is kept


NAMES = {name for name, member in vars(Operations).items() if is_operation(member)}

# With this scope, pytest runs a group on all targets in turn, and keeps the oracle's results.
each_group = pytest.mark.parametrize("group", GROUPS, scope="module")


@each_group
def test_gives_the_results_of_the_base(target, group, proved):
    """Run all cases in float32, and the largest in float64.

    NumPy's lowerings run each case in every layout. Plain definitions and a device run other
    layouts only for each operation's largest case, since formulas access memory in the same way.
    """
    cases = GROUPS[group] if target.dtype == "float32" else GROUPS[group][-1:]
    has_forms = isinstance(target.backend, NumpyBackend)
    for case in cases:
        every = target.dtype == "float32" and (has_forms or case is LARGEST[case.operation])
        layouts = LAYOUTS if every else LAYOUTS[:1]
        check(target.backend, target.dtype, case, layouts)
        proved("operation cases agree with the oracle", len(layouts))


HAVE_FORMS = ("numpy", "numpy:compiled")
REST = [target for target in TARGETS if target[1] == "float64" or target[0] not in HAVE_FORMS]


@pytest.mark.full
@each_group
@pytest.mark.parametrize("target", REST, ids="-".join, indirect=True)
def test_every_case_gives_the_results_of_the_base_in_every_layout(target, group, proved):
    for case in GROUPS[group]:
        check(target.backend, target.dtype, case)
    proved("operation cases agree with the oracle", len(LAYOUTS) * len(GROUPS[group]))


def test_every_operation_has_a_case():
    assert {case.operation for case in CASES} == NAMES - {"call"}


def test_names_of_cases_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)

import inspect
from collections import defaultdict

import pytest
from devices import TARGETS
from parity.operations import CASES, LAYOUTS, Case, check

from gpunn.backends import Backend
from gpunn.backends.numpy import NumpyBackend

TRANSFERS = {"describe", "dtype", "dtype_name", "zeros", "from_host", "copy_from_host", "to_host"}
TRANSFERS |= {"copy", "synchronize", "free_memory", "nbytes"}
TRANSFERS |= {
    "computing",
    "recorded",
    "recorded_function",
    "copy_to_host",
    "stager",
    "device_errors",
    "release_memory",
    "needs_loss_scale",
    "algorithms",
    "restore_algorithms",
    "maker",
}

GROUPS: dict[str, list[Case]] = defaultdict(list)
for case in CASES:
    GROUPS["-".join(case.name.split("-")[:2])].append(case)


def public_methods(cls):
    return {name for name, member in vars(cls).items() if callable(member) and name[0] != "_"}


@pytest.mark.parametrize("group", GROUPS)
def test_gives_the_results_of_the_base(target, group, proved):
    """In float32 all cases, in each memory layout; in float64 the largest, in one."""
    everything = target.dtype == "float32"
    cases, layouts = (GROUPS[group], LAYOUTS) if everything else (GROUPS[group][-1:], LAYOUTS[:1])
    for case in cases:
        check(target.backend, target.dtype, case, layouts)
    proved("operation cases agree with the oracle", len(layouts) * len(cases))


DOUBLE = [target for target in TARGETS if target[1] == "float64"]


@pytest.mark.full
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("target", DOUBLE, ids="-".join, indirect=True)
def test_gives_the_results_of_the_base_in_float64(target, group, proved):
    for case in GROUPS[group]:
        check(target.backend, target.dtype, case)
    proved("operation cases agree with the oracle", len(LAYOUTS) * len(GROUPS[group]))


def test_every_operation_has_a_case():
    assert {case.operation for case in CASES} == public_methods(Backend) - TRANSFERS


def test_names_of_cases_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("cls", [NumpyBackend])
def test_overrides_keep_the_signature_of_the_base(cls):
    overrides = public_methods(cls) & public_methods(Backend)
    assert overrides
    assert public_methods(cls) == overrides  # a backend adds nothing to the interface
    for name in overrides:
        expected = inspect.signature(getattr(Backend, name))
        assert inspect.signature(getattr(cls, name)) == expected, name

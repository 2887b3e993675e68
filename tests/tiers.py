"""The test tiers of docs/project/gpu_testing.md: the tier of each test, and counts for each tier.

A test belongs to the tier of its marker, `tier(5)`. Tests that take a backend of `devices.BACKENDS`
need no marker: on a CPU they belong to tier 1, on a CUDA device to tier 5, as do all in the folders
of `ON_A_DEVICE`. What belongs to tier 5 gets the marker `device`, by which `pytest -m device`
selects it. A test tells what it covered with the fixture `proved`; after all tests, each tier's
counts are printed.
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from devices import BACKENDS, DEVICE, TARGETS

TIERS = {
    1: "portable",
    2: "import",
    3: "compiled",
    4: "semantics",
    5: "emulated device" if DEVICE != "cuda" else "tier 5's tests on a real device",
}

TESTS = Path(__file__).parent
PORTABLE = ("training", "parity", "reference")
"""Folders whose tests are of tier 1 whatever they run on."""

ON_A_DEVICE = ("gpu_graph",)
"""Folders whose tests are of tier 5, and need no marker."""

WITH_TESTS_OF_DEVICES = {
    *("backends/test_base.py", "distributed/test_nccl.py", "interchange/test_onnx.py"),
    *("parity/test_operations.py", "parity/test_runs.py"),
    *(f"layers/test_{name}.py" for name in ("dense", "elementwise", "normalization", "tables")),
    *("layers/test_operations_only.py", "robustness/test_kill_and_resume.py"),
    "sklearn/test_devices.py",
    *("test_activations.py", "test_augmentations.py", "test_load_weights.py", "test_losses.py"),
    *("test_metrics_of_labels.py", "test_optimizers.py", "test_parameters.py", "test_workspace.py"),
    *(f"training/batches/test_{name}.py" for name in ("augmentation", "batch_stream", "shuffling")),
    *("training/batches/test_initial_values_from_data.py", "training/callbacks/test_norm_log.py"),
    *("training/checkpoints/test_resume.py", "training/divergence/test_recovery.py"),
    *("training/step/test_loss_computation.py", "training/test_frozen.py"),
}
"""Files that a process with a device reads, besides the folders `OF_DEVICES`."""

OF_DEVICES = ("emulated_cuda", "gpu", "gpu_graph")

EMULATOR = ("emulated_cuda/tests",)


def pytest_report_header() -> str:
    if DEVICE:
        return f"CUDA device: {DEVICE}; only tests that need one run"
    return "CUDA device: none; tests that need one are left out (see docs/project/gpu_testing.md)"


EVERY_BACKEND = {id(value) for value in (*BACKENDS.values(), *TARGETS)}


def takes_backend(item: pytest.Item) -> bool:
    """Return whether a test is run once for each backend."""
    callspec = getattr(item, "callspec", None)
    return callspec is not None and any(
        id(value) in EVERY_BACKEND
        or (name == "backend" and isinstance(value, str) and value in BACKENDS)
        for name, value in callspec.params.items()
    )


def tier_of(item: pytest.Item) -> int | None:
    marker = item.get_closest_marker("tier")
    if marker is not None:
        return int(marker.args[0])
    if takes_backend(item):
        return 5 if DEVICE else 1
    if is_in(item.path, ON_A_DEVICE):
        return 5
    if not DEVICE and is_in(item.path, PORTABLE):
        return 1
    return None


@functools.cache  # thousands of tests are in few files
def is_in(path: Path, folders: tuple[str, ...]) -> bool:
    """Return whether a file is in one of these folders."""
    return any(TESTS / folder in path.parents for folder in folders)


@functools.cache
def may_have_tests_of_devices(path: Path) -> bool:
    if not path.is_relative_to(TESTS):
        return True
    return is_in(path, OF_DEVICES) or str(path.relative_to(TESTS)) in WITH_TESTS_OF_DEVICES


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if collection_path.suffix != ".py":
        return None
    if DEVICE:
        return None if may_have_tests_of_devices(collection_path) else True
    return True if is_in(collection_path, ON_A_DEVICE) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen, others = [], []
    for item in items:
        tier = tier_of(item)
        emulated = item.get_closest_marker("emulated")
        # A test that is run on every backend is run on the strict one, too.
        every = "strict" in item.nodeid.partition("::")[2] and takes_backend(item)
        if (every or emulated or tier == 5) and not may_have_tests_of_devices(item.path):
            raise pytest.UsageError(
                f"{item.nodeid} runs on a device, too, where its file is not read; add the file to "
                "WITH_TESTS_OF_DEVICES in tests/tiers.py"
            )
        if emulated or is_in(item.path, EMULATOR):
            here = DEVICE == "emulated"
        else:
            here = (tier == 5) == bool(DEVICE)
        (chosen if here else others).append(item)
        if tier is not None:
            item.user_properties.append(("tier", tier))
        if tier == 5:
            item.add_marker("device")
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = chosen


@pytest.fixture
def proved(request: pytest.FixtureRequest) -> Callable[..., None]:
    """What a test covered: `proved("operation cases", 12)` adds 12 to its tier's count."""

    def add(what: str, number: int = 1) -> None:
        request.node.user_properties.append(("proved", [what, number]))

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tests: dict[int, Counter[str]] = defaultdict(Counter)
    proofs: dict[int, Counter[str]] = defaultdict(Counter)
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(outcome):
            properties = getattr(report, "user_properties", [])  # none while collecting
            tier = dict(properties).get("tier")
            if tier is None or (outcome == "passed" and report.when != "call"):
                continue
            tests[tier][outcome] += 1
            if outcome == "passed":
                for name, value in properties:
                    if name == "proved":
                        proofs[tier][value[0]] += value[1]
    if not tests:
        return
    terminalreporter.section("test tiers")
    for tier in sorted(tests):
        outcomes = ", ".join(f"{number} {outcome}" for outcome, number in tests[tier].items())
        terminalreporter.line(f"tier {tier}, {TIERS[tier]}: tests: {outcomes}")
        for what, number in proofs[tier].items():
            terminalreporter.line(f"    {number:>6,} {what}")

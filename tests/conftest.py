"""What tests of several folders share: the backends to run on."""

import gc
import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import NamedTuple

# Before anything imports NumPy. OpenBLAS's threads wait for one another in loops, which take
# many times the time of the products where other processes use the cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from devices import BACKENDS, DEVICE, TARGETS, in_which_run

from gpunn.backends import Backend
from gpunn.training import epoch_blocks
from gpunn.training.sharing import SharedPrograms

pytest_plugins = ["browser", "claims", "tiers"]

# By default, waiting threads of OpenMP use their cores. Next to other processes, a fit of boosted
# trees takes minutes instead of a second. OpenMP reads this when scikit-learn is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

OPTIONAL = {
    *("array_api_strict", "hypothesis", "jinja2", "matplotlib", "numba", "onnx", "onnxruntime"),
    *("pandas", "PIL", "playwright", "scipy", "sklearn"),
}
"""What files of tests import, and a machine may lack; ci/test.sh installs it."""


class Module(pytest.Module):
    def collect(self):
        try:
            return super().collect()
        except self.CollectError as error:
            absent = error.__cause__
            name = getattr(absent, "name", None) or ""
            if isinstance(absent, ModuleNotFoundError) and name.partition(".")[0] in OPTIONAL:
                pytest.skip(f"{name} is not installed", allow_module_level=True)
            raise


gc.disable()  # while thousands of tests are collected, which stay


def pytest_collection_finish():
    """Spare the garbage collector the tests themselves, and let it look for cycles seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20)
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """Spare the collections that tests ask for what earlier files have imported.

    A sweep collects garbage after each trial, and an emulated device before each capture.
    """
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


def pytest_pycollect_makeitem(collector, name, obj):
    """Spare the default run the collection of tests that are for the full run whatever the case."""
    config = collector.config
    whole = config.option.markexpr == "not full" and "::" not in "".join(config.args)
    marks = getattr(obj, "pytestmark", ()) if whole and name.startswith("test_") else ()
    return [] if any(mark.name == "full" for mark in marks) else None


def pytest_pycollect_makemodule(module_path, parent):
    return Module.from_parent(parent, path=module_path)


# No test depends on a clock, on chance, or on what failed before: `too_slow` is a clock, too.
with suppress(ModuleNotFoundError):
    import hypothesis
    from hypothesis.internal.conjecture import providers

    # Hypothesis would add constants of the modules that happen to be imported, and parse them all.
    providers.is_local_module_file = lambda path: False
    hypothesis.settings.register_profile(
        "gpunn",
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("gpunn")


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    """Programs that fits leave for later fits, so that no test depends on another test's fits."""
    fresh = SharedPrograms()
    monkeypatch.setattr(epoch_blocks, "PROGRAMS", fresh)
    return fresh


if DEVICE != "emulated":
    collect_ignore = ["emulated_cuda"]


class Target(NamedTuple):
    backend: Backend
    dtype: str


@pytest.fixture(
    params=[
        pytest.param(target, id="-".join(target), marks=in_which_run("-".join(target)))
        for target in TARGETS
    ]
)
def target(request: pytest.FixtureRequest) -> Target:
    name, dtype = request.param
    return Target(BACKENDS[name](), dtype)


@pytest.fixture(
    params=[pytest.param(name, marks=in_which_run(f"{name}-float32")) for name in BACKENDS]
)
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]()


@pytest.fixture(params=[pytest.param("base", marks=pytest.mark.full), "numpy"])
def host_backend(request: pytest.FixtureRequest) -> Backend:
    """NumPy's operations, which `tests/parity` compares with the plain definitions, and these."""
    return BACKENDS[request.param]()


@pytest.fixture
def no_float64() -> Callable[..., AbstractContextManager[None]]:
    """`with no_float64("float32"):` fails if a float32 run computes in double precision.

    Kernels in `allowed` may do so.
    """

    def watched(dtype: str, allowed: Iterable[str] = ()) -> AbstractContextManager[None]:
        counted = DEVICE == "emulated" and dtype == "float32"
        return watch(set(allowed)) if counted else nullcontext()

    return watched


@contextmanager
def watch(allowed: set[str]) -> Iterator[None]:
    import emulated_cuda

    with emulated_cuda.counters() as counts:
        yield
    found = {name: count for name, count in counts.float64.items() if name not in allowed}
    assert not found, f"double precision in {found}"


@pytest.fixture(autouse=True, scope="session")
def _nothing_waits_for_the_disk():
    """No test cuts the power, so what is written need not have reached the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():  # a fixture for each of thousands of tests would take seconds
    # A shell ignores Ctrl-C for what it starts in the background, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Whether kernels are compiled in a test depends on which tests and runs came before.
    logging.getLogger("gpunn.compilation").disabled = True


@pytest.fixture
def no_drawings(monkeypatch):
    """Make reports without what Matplotlib draws, which takes nearly all of their time."""
    empty = '<svg viewBox="0 0 1 1"></svg>'
    monkeypatch.setattr("gpunn.reporting.charts.drawn", lambda *_, **__: empty)


@pytest.fixture
def two_blas_threads():
    """Let NumPy's products use two threads, which tests otherwise do not."""
    from gpunn.backends.numpy.blas import controller

    before = [library.get_num_threads() for library in controller().lib_controllers]
    for library in controller().lib_controllers:
        library.set_num_threads(2)
    yield
    for library, threads in zip(controller().lib_controllers, before, strict=True):
        library.set_num_threads(threads)


@pytest.fixture
def numpy_alone(monkeypatch):
    from gpunn.backends.numpy.compiled.library import library

    monkeypatch.setenv("GPUNN_KERNELS", "off")
    library.cache_clear()
    yield
    library.cache_clear()


@pytest.fixture(params=["as installed", "NumPy alone"])
def engine(request):
    if request.param == "NumPy alone":
        request.getfixturevalue("numpy_alone")

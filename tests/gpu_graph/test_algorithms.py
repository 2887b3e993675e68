"""Measured algorithms of cuBLASLt: which are chosen, when, and after resuming."""

import gc
import itertools
import pickle
import re
import types
from collections import Counter
from unittest.mock import Mock

import cupy
import numpy as np
import pytest
from gpu_graph.products import Amended, close, operands
from parity.operations import CASES, LAYOUTS, check

import gpunn
from gpunn import get_backend, layers
from gpunn.backends.cupy import CupyBackend
from gpunn.backends.cupy.matmul import choice, cublaslt, selection
from gpunn.backends.cupy.matmul.cublas import CublasError
from gpunn.callbacks import ModelCheckpoint
from gpunn.errors import BackendUnavailableError

FUSED = r"dense(_gradient)?-(identity|relu)-(0x3x2|1x1x1|5x7x3|33x16x48)"
PRODUCTS = [case for case in CASES if re.match(rf"matmul-.x|{FUSED}", case.name)]
SHAPE = (8, 5, 64)
"""A product whose sums have enough parts for each algorithm to round differently."""


def measuring(**options):
    return CupyBackend(0, matmul_algorithms="measured", **options)


@pytest.fixture
def device(monkeypatch, emulator):
    """An emulated device whose clock advances by set costs when cuBLASLt's algorithms run.

    `costs` has the seconds of each algorithm, 1 by default, and `counts` has the counters.
    """
    from emulated_cuda import graphs

    costs = Counter()

    def now():
        return sum(runs * (costs[name] or 1) for name, runs in counts.algorithms.items())

    with emulator.counters() as counts:
        monkeypatch.setattr(graphs, "time", types.SimpleNamespace(perf_counter=now))
        yield types.SimpleNamespace(costs=costs, counts=counts)


@pytest.fixture
def quick(monkeypatch):
    """Time everything once, for tests that do not depend on times."""
    monkeypatch.setattr(selection, "IN_A_ROW", 1)
    monkeypatch.setattr(selection, "LAUNCHES", 1)


def multiply(backend, **transposed):
    a, b, out, expected = operands(*SHAPE, **transposed)
    backend.matmul(a, b, out, **transposed)
    close(out, expected)
    return out.get().tobytes()


def used(device, backend):
    """Return the algorithm that computes a product from now on."""
    before = Counter(device.counts.algorithms)
    multiply(backend)
    ((name, times),) = (device.counts.algorithms - before).items()
    assert times == 1
    return name


@pytest.mark.parametrize("fused", [True, False])
def test_gives_the_results_of_the_base(fused, quick):
    backend = measuring(fused_products=fused)
    for case in PRODUCTS:
        check(backend, "float32", case)
    described = backend.describe()
    assert described["matmul_algorithms"] == f"measured algorithms: {len(backend.algorithms()) - 1}"
    assert described["fused_products"] == ("cuBLASLt" if fused else "off")
    assert CupyBackend(0).describe()["matmul_algorithms"] == "algorithms of cuBLAS's heuristic"


@pytest.mark.emulated
def test_a_candidate_that_is_marked_as_invalid_is_never_tried(device, monkeypatch):
    tried, compute = set(), cublaslt.Plan.multiply

    def watched(plan, algorithm, *operands):
        tried.add(bytes(algorithm))
        compute(plan, algorithm, *operands)

    monkeypatch.setattr(cublaslt.Plan, "multiply", watched)
    multiply(measuring())
    assert len(tried) == selection.CANDIDATES - 1  # the emulated heuristic marks one of them


@pytest.mark.emulated
@pytest.mark.parametrize("transposed", list(itertools.product([False, True], repeat=2)))
def test_the_fastest_is_chosen_once(device, transposed):
    device.costs["5"] = 1e-3
    transposed = dict(zip(("transpose_a", "transpose_b"), transposed, strict=True))
    backend = measuring()
    bits = {multiply(backend, **transposed)}
    launched = device.counts.graph_launches
    assert launched > 0
    for _ in range(2):
        before = Counter(device.counts.algorithms)
        bits.add(multiply(backend, **transposed))
        assert device.counts.algorithms - before == {"5": 1}
    assert device.counts.graph_launches == launched
    assert len(bits) == 1
    assert bits != {multiply(CupyBackend(0), **transposed)}  # so tests can distinguish them


@pytest.mark.emulated
def test_times_are_medians(device, monkeypatch):
    """Two delayed launches of five do not change the choice."""
    device.costs["3"], launches = 1e-3, itertools.count()
    timed = selection.milliseconds
    monkeypatch.setattr(
        selection, "milliseconds", lambda launch: timed(launch) + 1e9 * (next(launches) in (3, 24))
    )
    backend = measuring()
    multiply(backend)
    assert used(device, backend) == "3"


@pytest.mark.emulated
@pytest.mark.parametrize(("seconds", "runs"), [(1e-6, 1 + 6 * 10), (1.0, 1 + 6 * 1)])
def test_long_products_are_run_less_often(device, seconds, runs):
    device.costs.update(dict.fromkeys(map(str, range(8)), seconds))
    multiply(measuring())
    done = {name: times for name, times in device.counts.algorithms.items() if name != "0"}
    assert done == dict.fromkeys("134567", runs)


@pytest.mark.emulated
def test_no_algorithm_whose_bits_change_is_chosen(device):
    device.costs["1"] = 1e-3  # the emulated heuristic's reduction in place, unless it is excluded
    backend = measuring()
    assert len({multiply(backend) for _ in range(4)}) == 1
    assert used(device, backend) == "1"


def test_no_garbage_is_collected_while_products_are_recorded(monkeypatch):
    """Garbage may hold a handle, and destroying a handle would break the recording."""
    collecting, do = [], cublaslt.Plan.multiply

    def watched(*arguments):
        if cupy.cuda.get_current_stream().is_capturing():
            collecting.append(gc.isenabled())
        do(*arguments)

    monkeypatch.setattr(cublaslt.Plan, "multiply", watched)
    multiply(measuring())
    assert set(collecting) == {False}
    assert gc.isenabled()


@pytest.mark.emulated
def test_a_product_that_first_occurs_in_a_capture_stays_with_the_heuristic(device):
    device.costs["5"] = 1e-3
    backend, (a, b, out, expected) = measuring(), operands(*SHAPE)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        backend.matmul(a, b, out)
        graph = stream.end_capture()
    graph.launch()
    close(out, expected)
    assert used(device, backend) == "0"
    assert device.counts.graph_launches == 1


@pytest.mark.emulated
def test_a_stored_algorithm_is_chosen_again(device, caplog):
    device.costs["4"] = 1e-3
    first, second = measuring(), measuring()
    bits = multiply(first)
    stored = first.algorithms()
    assert {type(item) for pair in stored.items() for item in pair} == {str}
    device.costs["4"] = 1e3
    multiply(second)  # before restoring, with the algorithm that is now fastest
    assert used(device, second) != "4"
    launched = device.counts.graph_launches
    second.restore_algorithms(stored)
    assert multiply(second) == bits
    assert used(device, second) == "4"
    assert (second.algorithms(), device.counts.graph_launches) == (stored, launched)
    assert not caplog.records
    CupyBackend(0).restore_algorithms(stored)


@pytest.mark.emulated
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"made_by": "cuBLASLt 1 on a GPU"}, "1 on a GPU, but this process uses .* again"),
        ({None: "not hexadecimal"}, "can't use the stored algorithm for a matrix product"),
        ({None: "00" * 64}, "can't use the stored algorithm for a matrix product"),
    ],
    ids=["another release", "damaged", "of another library"],
)
def test_unusable_algorithms_are_reported_and_measured_again(device, changed, expected, caplog):
    device.costs["4"] = 1e-3
    backend, other = measuring(), measuring()
    multiply(backend)
    (problem,) = backend.algorithms().keys() - {"made_by"}
    stored = backend.algorithms() | {name or problem: text for name, text in changed.items()}
    other.restore_algorithms(stored)
    multiply(other)
    assert used(device, other) == "4"
    assert other.algorithms() == backend.algorithms()
    (message,) = caplog.messages
    assert re.search(expected, message)
    assert message.count("differ in rounding from an uninterrupted run") == 1


PLACES = {"cublasLtMatmul": 12, "cublasLtMatmulAlgoCheck": 6}
"""The position of the algorithm among each function's arguments."""


@pytest.fixture
def failing(monkeypatch):
    library, numbers = cublaslt.load_cublaslt(), {0, 1, 3}

    def fail(status, *names):
        def failing(name):
            def call(*arguments):
                number = arguments[PLACES[name]]._obj.data[6] >> 16 & 0xFFFF
                return status if number in numbers else getattr(library, name)(*arguments)

            return call

        amended = Amended(library, **{name: failing(name) for name in names})
        monkeypatch.setattr(choice, "load_cublaslt", lambda: amended)
        return numbers

    return fail


@pytest.mark.emulated
@pytest.mark.parametrize("status", ["8, not supported on this device", "15, not supported"])
def test_refused_algorithms_are_left_out(device, status, failing):
    device.costs["0"] = 1e-3
    first = measuring()
    multiply(first)
    assert used(device, first) == "0"
    numbers = failing(int(status.split(",")[0]), *PLACES)
    for stored in ({}, first.algorithms()):
        backend = measuring()
        backend.restore_algorithms(stored)
        multiply(backend)
        assert used(device, backend) == "4"
    numbers |= set(range(8))
    backend, before = measuring(), device.counts.matmuls.total()
    multiply(backend)  # by cuBLAS
    assert device.counts.matmuls.total() == before + 1
    assert backend.describe()["fused_products"].endswith(
        f"(8, 64) times (64, 5) with nothing more (status {status})"
    )


@pytest.mark.emulated
def test_a_candidate_that_fails_is_left_out(device, failing):
    """If all of them fail, that raises an error, which a product by cuBLAS could hide."""
    numbers = failing(13, "cublasLtMatmul")
    backend = measuring()
    multiply(backend)
    assert used(device, backend) == "4"
    numbers |= set(range(8))
    with pytest.raises(CublasError, match="status 13"):
        multiply(measuring())


def test_without_the_library_measuring_raises_an_error(monkeypatch):
    monkeypatch.setattr(choice, "load_cublaslt", Mock(side_effect=OSError("no such library")))
    with pytest.raises(BackendUnavailableError, match=r"matmul_algorithms='measured'.*no such"):
        get_backend("cupy", matmul_algorithms="measured")


X = np.random.default_rng(1).standard_normal((40, 64)).astype("f4")
Y = np.arange(40) % 5


def trainer_on(backend):
    model = gpunn.Sequential([layers.Dense(32, "relu"), layers.Dense(5)], 64, backend, seed=0)
    return gpunn.Trainer(model, "softmax_cross_entropy")


def fit(trainer, epochs=2, **options):
    trainer.fit(X, Y, epochs=epochs, batch_size=16, progress=False, **options)
    return trainer.model.parameters.values.tobytes()


def bits(trainer):
    return b"".join(array.tobytes() for array in trainer.model.parameters.to_host().values())


@pytest.mark.emulated
@pytest.mark.parametrize("graph", [True, False])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(device, graph, tmp_path, caplog):
    device.costs["5"] = 1e-3
    whole = trainer_on(measuring(graph=graph))
    path = tmp_path / "{epoch}.safetensors"
    fit(whole, callbacks=[ModelCheckpoint(path, resumable=True)])
    device.costs["5"] = 1e3  # another algorithm is now fastest
    resumed = trainer_on(measuring(graph=graph))
    fit(resumed, resume_from=tmp_path / "1.safetensors")
    assert bits(resumed) == bits(whole)
    assert not caplog.records
    anew = trainer_on(measuring(graph=graph))
    anew.model.backend.restore_algorithms = lambda algorithms: None
    fit(anew, resume_from=tmp_path / "1.safetensors")
    assert bits(anew) != bits(whole)
    on_host = trainer_on(get_backend("numpy"))
    fit(on_host, resume_from=tmp_path / "1.safetensors")
    on_host.save_checkpoint(tmp_path / "host.safetensors")
    anew.load_checkpoint(tmp_path / "host.safetensors")


@pytest.mark.emulated
def test_a_pickled_trainer_keeps_its_algorithms(device):
    device.costs["5"] = 1e-3
    trainer = trainer_on(measuring())
    fit(trainer, 1)
    copied = pickle.loads(pickle.dumps(trainer))
    device.costs["5"] = 1e3
    assert copied.model.backend.algorithms() == trainer.model.backend.algorithms() != {}
    fit(trainer, 1)
    fit(copied, 1)
    assert bits(copied) == bits(trainer)


@pytest.mark.emulated
@pytest.mark.parametrize(("seed", "algorithms"), [(5, "heuristic"), (6, "measured")])
def test_where_shapes_are_refused_results_are_those_of_the_base(seed, algorithms, emulator, quick):
    backend = CupyBackend(0, matmul_algorithms=algorithms)
    with emulator.refusals(seed), emulator.counters() as counts:
        for case in PRODUCTS:
            check(backend, "float32", case, LAYOUTS[:1])
    assert counts.fused_matmuls
    for name in ("bias", "ReLU", "bias and ReLU", "bias gradient"):
        assert f"with {name} (status 15" in backend.describe()["fused_products"]


@pytest.mark.emulated
@pytest.mark.parametrize("algorithms", ["heuristic", "measured"])
def test_where_shapes_are_refused_a_replayed_step_has_the_same_bits(algorithms, emulator, quick):
    found, stored = [], {}
    with emulator.refusals(3):
        for graph in (True, False):
            trainer = trainer_on(CupyBackend(0, graph=graph, matmul_algorithms=algorithms))
            trainer.model.backend.restore_algorithms(stored)
            fit(trainer)
            stored = trainer.model.backend.algorithms()
            assert "refused" in trainer.model.backend.describe()["fused_products"]
            found.append(bits(trainer))
    assert found[0] == found[1]

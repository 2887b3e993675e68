"""Tier 4: each kernel of the project, from CuPy's source, as C++ against the reference."""

import functools
import itertools
import math
import re
from collections import Counter

import pytest
from emulated_cuda.toolchain import CompilationError
from kernels import declared
from kernels.cases import small_cases
from kernels.declared import is_of_project
from kernels.replay import SANITIZERS, FaultError, check, cooperative

pytestmark = pytest.mark.tier(4)

CASES = {case.name: case for case in small_cases()}

WITHOUT_KERNELS = {"fill", "accumulate", "append", "increment", "count_pass"}
"""Operations that CuPy's kernels run."""

OPERATIONS = sorted({case.operation for case in CASES.values()} - WITHOUT_KERNELS)

COOPERATIVE = (
    *("activation_gradient", "activation_scale_gradient", "batch_norm", "batch_norm_gradient"),
    *("clip", "clipped_update", "compute", "convolution_weights"),
    "counted_update",
    *("dropout_activation_gradient", "dropout_activation_scale_gradient", "embed_gradient"),
    *("l2_penalty", "layer_norm", "layer_norm_activate", "layer_norm_activation_gradient"),
    *("layer_norm_gradient", "loss", "mean_over_members", "metric", "next_batch"),
    *("parametric_activation_gradient", "periodic_gradient", "scale_gradient", "sum"),
    *("unscale", "update", "update_if_finite"),
)
"""Operations with kernels whose threads share memory or wait for each other."""

MANY_FORMULAS = (
    *("activation_gradient", "activation_scale_gradient", "dropout_activation_gradient"),
    *("dropout_activation_scale_gradient", "loss", "metric"),
)
"""Operations with a kernel for each formula, whose threads otherwise do the same."""

FORMULAS = {
    "loss": ("softmax_cross_entropy", "softmax_focal", "huber", "gaussian_nll", "quantiles"),
    "metric": ("accuracy", "top_k_accuracy", "auc", "f1", "log_loss", "r2"),
    **dict.fromkeys(
        ("update", "update_if_finite", "clipped_update", "counted_update"),
        ("0", "2", "4", "sgd", "adam", "lamb", "lars"),
    ),
}
"""What the default run replays of these operations: other formulas are in the same loops."""


def selections():
    """Yield a sanitizer, an operation, its type, and whether to run all of its records."""
    for sanitizer, name, dtype in itertools.product(SANITIZERS, OPERATIONS, ("float32", "float64")):
        at = f"{sanitizer}-{name}-{dtype}"
        if dtype == "float32" and (sanitizer == "address" or name in COOPERATIVE):
            yield pytest.param(sanitizer, name, dtype, False, id=at)
        yield pytest.param(sanitizer, name, dtype, True, id=f"{at}-all", marks=pytest.mark.full)


def kernels_of(records):
    return {launch["kernel"] for record in records for launch in record["launches"]}


def select(recording, operation, dtype):
    """Return the records that can be replayed, since they only launched kernels and products."""
    return [
        record
        for record in recording.operations
        if (record["operation"], record["dtype"]) == (operation, dtype) and record["replayable"]
    ]


def threads_of(record):
    return sum(math.prod(launch["grid"] + launch["block"]) for launch in record["launches"])


def one_for_each_kernel(records):
    contiguous = [record for record in records if record["layout"] == "contiguous"] or records
    ordered = sorted(contiguous, key=threads_of)
    largest = {launch["kernel"]: record for record in ordered for launch in record["launches"]}
    return list({record["case"]: record for record in largest.values()}.values())


def of_one_activation(recording, records):
    """Return the records of the first of each group of kernels that differ in their activation.

    Their threads access the same memory, and `tests/parity` compares the formulas' results.
    """
    activation, first = declared.any_of(recording.tables["FORMULAS"]), {}
    for kernel in sorted(kernels_of(records)):
        first.setdefault(activation.sub("", kernel), kernel)
    return [record for record in records if kernels_of([record]) <= {*first.values()}]


def chosen(recording, sanitizer, operation, dtype, everything):
    """Return the records to run under a sanitizer."""
    records = select(recording, operation, dtype)
    if not everything:
        records = [
            record
            for record in of_one_activation(recording, records)
            if operation not in FORMULAS or record["case"].split("-")[1] in FORMULAS[operation]
        ]
    if sanitizer == "address":
        return [r for r in records if everything or r["layout"] == "contiguous"]
    if operation not in COOPERATIVE or (not everything and operation in MANY_FORMULAS):
        return one_for_each_kernel(records)
    if not everything:
        records = [r for r in records if r["layout"] == "contiguous"]
    together, alone = [], []
    for record in records:
        texts = (recording.sources[launch["source"]]["text"] for launch in record["launches"])
        (together if any(map(cooperative, texts)) else alone).append(record)
    return together + one_for_each_kernel(alone)


@functools.cache
def replayed(recording, sanitizer):
    """Return what the default run replays of each operation, and the results, from one build.

    The result is empty after a fault, so that each operation runs alone, and only some have faults.
    """
    names = OPERATIONS if sanitizer == "address" else COOPERATIVE
    records = {name: chosen(recording, sanitizer, name, "float32", False) for name in names}
    try:
        after = iter(recording.replay([*itertools.chain(*records.values())], sanitizer))
    except (FaultError, CompilationError):
        return {}
    return {
        name: (each, list(itertools.islice(after, len(each)))) for name, each in records.items()
    }


@pytest.mark.parametrize(("sanitizer", "operation", "dtype", "everything"), list(selections()))
def test_gives_the_results_of_the_oracle(
    recording_of, proved, sanitizer, operation, dtype, everything
):
    recording = recording_of(dtype, every_layout=everything)
    if everything or not replayed(recording, sanitizer):
        records = chosen(recording, sanitizer, operation, dtype, everything)
        results = recording.replay(records, sanitizer)
    else:
        records, results = replayed(recording, sanitizer)[operation]
    assert records
    kinds = Counter(
        check(record, CASES[record["case"]], after)
        for record, after in zip(records, results, strict=True)
    )
    sources = {
        (launch["source"], launch["kernel"])
        for record in records
        for launch in record["launches"]
        if is_of_project(launch["kernel"])
    }
    named = {"address": "AddressSanitizer", "thread": "the race checker"}[sanitizer]
    proved(f"kernel sources of the project run under {named}", len(sources))
    proved(f"cases equal to the oracle, bitwise, under {named}", kinds[True])
    proved(f"cases equal to the oracle, within rounding, under {named}", kinds[False])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_both_sanitizers_see_every_kernel(recording, operation):
    seen = [kernels_of(chosen(recording, name, operation, "float32", False)) for name in SANITIZERS]
    assert seen[0] == seen[1]


def test_every_operation_with_kernels_is_replayed(recording):
    assert {record["operation"] for record in recording.operations} == set(OPERATIONS)


def test_every_operation_whose_threads_share_memory_is_run_by_threads(recording):
    found = {
        record["operation"]
        for record in recording.operations
        if any(
            is_of_project(launch["kernel"])
            and cooperative(recording.sources[launch["source"]]["text"])
            for launch in record["launches"]
        )
    }
    assert found == set(COOPERATIVE)


def test_every_kernel_is_replayed(recording, proved):
    """A kernel of each kind that training launches, and those that the backend's source names."""
    kind = declared.kinds(recording.tables)
    replayed = {
        name
        for operation in OPERATIONS
        for name in kernels_of(select(recording, operation, "float32"))
        if is_of_project(name)
    }
    trained = {
        name
        for source in recording.sources
        if source["trained"]
        for name in source["kernels"]
        if is_of_project(name)
    }
    lost = {*map(kind, trained)} - {*map(kind, replayed)}
    assert not lost
    missing = {
        pattern
        for pattern in declared.patterns()
        if not any(re.fullmatch(pattern, name) for name in replayed)
    }
    assert not missing
    proved("kernels of the project, each with a test", len(replayed))


@pytest.mark.parametrize("table", ["FORMULAS", "LOSSES", "METRICS", "RULES"])
def test_every_entry_of_the_tables_is_replayed(recording, table):
    names = recording.tables[table]
    assert names
    replayed = kernels_of(recording.operations)
    for name in names:
        kind = "in_place|gradient|gradient_and_sums|loss|metric"
        own = re.compile(rf"gpunn_(bias_)?{name}(_({kind}))?")
        assert any(own.fullmatch(kernel) for kernel in replayed), name


@pytest.mark.full
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "sliced"])
def test_layouts_are_among_the_cases(recording_of, layout):
    recording = recording_of("float32", every_layout=True)
    found = {r["operation"] for r in recording.operations if r["layout"] == layout}
    assert found >= {"activate", "dropout", "gather_rows", "normalize", "rescale"}


def run_changed(recording, sanitizer, operation, at, old, new):
    """Replay the first contiguous float32 case with this name's end and a source to change."""

    def change(source):
        return source.replace(old, new, 1)

    for record in select(recording, operation, "float32"):
        texts = [recording.sources[launch["source"]]["text"] for launch in record["launches"]]
        if (
            record["layout"] == "contiguous"
            and record["case"].endswith(at)
            and any(old in text for text in texts)
        ):
            check(record, CASES[record["case"]], recording.replay([record], sanitizer, change)[0])
            return
    pytest.fail("no source contains the text that the planted bug replaces")  # no AssertionError


RACE = "thread", "data race, at byte", "planted races caught"
INDEX = "address", "AddressSanitizer: heap-buffer-overflow", "planted indices caught"
SHARED_INDEX = "address", "index 16 out of bounds", "planted indices caught"
ARITHMETIC = "address", "Mismatched elements", "planted errors of arithmetic caught"

PLANTED = {
    RACE: {
        "no barrier before the stack is read": (
            *("batch_norm", "64x10"),
            *("= v;\n  __syncthreads();\n  T sum", "= v;\n  T sum"),
        ),
        "no barrier before the stack is used again": (
            *("batch_norm", "64x10"),
            *("__syncthreads();  // the next call overwrites the stack", ""),
        ),
        "no barrier between the warps of a sum": (
            *("clip", "5000-0.5"),
            *("= v;\n  __syncthreads();\n  return warp_sum", "= v;\n  return warp_sum"),
        ),
        "a warp's barrier where the block's is needed": (
            *("clip", "5000-0.5"),
            *("__syncthreads()", "__syncwarp()"),
        ),
        "no barrier between the sums of rows and those of columns": (
            *("layer_norm_activation_gradient", "64x10"),
            *("__syncthreads();\n  for (long long left", "for (long long left"),
        ),
        "a part that is not released before the ticket is taken": (
            *("sum", "-5000"),
            *("__threadfence();  // makes earlier", "// makes earlier"),
        ),
        "parts that are not waited for before the ticket is taken": (
            *("layer_norm_gradient", "300x3"),
            *("bool last;\n  __syncthreads();", "bool last;"),
        ),
        "parts that are read before the last is written": (
            *("sum", "-5000"),
            *("return last;", "return true;"),
        ),
        "rows that are counted before all blocks know where they begin": (
            *("next_batch", "numbers_and_labels-700"),
            *("last_block(ticket, gridDim.x) &&", "blockIdx.x == gridDim.x - 1 &&"),
        ),
        "an update that is counted before all blocks know its number": (
            *("counted_update", "-5000-1"),
            *("last_block(ticket, gridDim.x) &&", "blockIdx.x == gridDim.x - 1 &&"),
        ),
        "a summary's weight that changes before all columns have read it": (
            *("metric", "r2-11-rows-5x70"),
            *("last_block(tickets + gridDim.x, gridDim.x) &&", "blockIdx.x == 0 &&"),
        ),
        "a flag that several threads write to as if alone": (
            *("unscale", "5000-everywhere-1"),
            *("atomicExch((unsigned long long*)&finite[0], 0ULL)", "finite[0] = 0"),
        ),
    },
    INDEX: {
        "one element past the end": ("sum", "-7", "k < size", "k <= size"),
        "one row past the end": ("layer_norm", "41x2", "row >= rows", "row > rows"),
        "a pixel to the right of the image": (
            *("convolution", "53112111-1"),
            *("start + n < end", "start + n <= end"),
        ),
        "a row too far": (
            *("gather_rows", "float-2d-13-as_is"),
            *("order[start[0] + row]", "order[start[0] + row + 1]"),
        ),
        "a row too far, of several arrays": (
            *("next_batch", "numbers_and_labels-13"),
            *("order + start[0]", "order + start[0] + 1"),
        ),
    },
    SHARED_INDEX: {
        "past the end of shared memory": (
            *("batch_norm", "64x10"),
            *("level < STACK; ++level", "level <= STACK; ++level"),
        ),
    },
    ARITHMETIC: {
        "a missing bias": ("activate", "6x5", "z += bias;", "z += 0 * bias;"),
        "a wrong mask key": ("dropout", "6x5", "^ key", "^ (key + 1)"),
        "a wrong sign": ("update", "-5-1", "= value + v", "= value - v"),
        "a wrong derivative": ("activation_gradient", "6x5", "d = a > 0;", "d = a >= 0;"),
        "a half-summed row": ("loss", "5x70-gradient", "other /= 2) v +=", "other /= 4) v +="),
    },
}
"""Planted bugs by kind: an operation, the end of its case's name, a text, and its replacement. A
kind is a sanitizer, its report, and the property that this proves."""


@pytest.mark.parametrize(
    ("kind", "planted"),
    [
        pytest.param(kind, planted, id=name)
        for kind, table in PLANTED.items()
        for name, planted in table.items()
    ],
)
def test_what_is_planted_is_caught(recording, proved, kind, planted):
    sanitizer, report, caught = kind
    with pytest.raises(AssertionError, match=report) as error:
        run_changed(recording, sanitizer, *planted)
    assert isinstance(error.value, FaultError) == (kind is not ARITHMETIC)
    proved(caught)

"""Tier 3: loops add up in registers, loads wait for no store, and fusion rounds."""

import functools
import re
from collections.abc import Iterator

import pytest
from kernels.cubins import Job, build_sources
from kernels.declared import is_of_project, of_each_kind

pytestmark = pytest.mark.tier(3)


ARCHITECTURE = "75"
"""An architecture for which `test_cubins` also builds most of the sources."""

LAYOUT = re.compile(r"(?:, |(?<=<))\d, \d(?:, \d)?(?=>)")
"""Dimensions and flags of an array or indexer in a kernel's arguments."""


LABEL = re.compile(r"^(\$\w+):")
BRANCH = re.compile(r"\bbra(?:\.uni)?\s+(\$\w+);")
STORE = re.compile(r"\bst\.global[.\w]*\s+\[(%\w+)")
LOAD = re.compile(r"\bld\.global\.(?!nc)[.\w]*\s+%\w+, \[(%\w+)")
END = re.compile(r"\$\w+:|(?:@!?%\w+\s+)?(?:atom|bar|barrier|bra|fence|membar|ret)\b")
DEFINED = re.compile(r"^(?:@!?%\w+\s+)?[\w.]+\s+\{?(%\w+)")


def innermost_loops(lines: list[str]) -> Iterator[list[str]]:
    """Yield the lines of each innermost loop, from a label to the branch back to it."""
    labels = {match[1]: at for at, line in enumerate(lines) if (match := LABEL.match(line))}
    spans = [
        (labels[match[1]], at)
        for at, line in enumerate(lines)
        if (match := BRANCH.search(line)) and labels[match[1]] <= at
    ]
    for first, last in spans:
        if not any((a, b) != (first, last) and first <= a and b <= last for a, b in spans):
            yield lines[first : last + 1]


def adds_up_in_memory(lines: list[str]) -> bool:
    """Return whether a loop of a kernel stores to the same address each time."""
    for loop in innermost_loops(lines):
        defined = {match[1] for line in loop if (match := DEFINED.match(line))}
        if any(match[1] not in defined for line in loop if (match := STORE.search(line))):
            return True
    return False


def straight_parts(lines: list[str]) -> Iterator[list[str]]:
    """Yield the lines between labels, branches, barriers, fences and atomic operations."""
    part = list[str]()
    for line in lines:
        if END.match(line):
            yield part
            part = []
        else:
            part.append(line)
    yield part


def loads_that_wait(lines: list[str]) -> int:
    """Count the loads that may read the memory of an earlier store.

    The store is in the same innermost loop or in the same of the `straight_parts`. Not counted are
    loads that the compiler can move before stores: non-coherent loads, and loads from the address
    register of a store at another offset.
    """
    count = 0
    for part in (*innermost_loops(lines), *straight_parts(lines)):
        stores = set[str]()
        for line in part:
            if match := STORE.search(line):
                stores.add(match[1])
            elif (match := LOAD.search(line)) and stores - {match[1]}:
                count += 1
    return count


def multiplies_and_adds(lines: list[str]) -> int:
    """Count the instructions that multiply and add floating-point numbers with one rounding."""
    return sum(bool(re.match(r"(?:@!?%\w+\s+)?fma\.", line)) for line in lines)


def lines_of(sources, also=()):
    return [
        (name, [line.strip() for line in ptx.splitlines()])
        for built in build_sources(sources, ARCHITECTURE, also)
        for name, ptx in built.ptx.items()
        if is_of_project(name)
    ]


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.full)])
def recorded(request, recording_of):
    """Return the lines of one of the sources that differ only in layouts, a built one if any.

    Without the parameter, return one of each kind, and the fused kernels below.
    """
    recording = recording_of("float32", every_layout=request.param)
    if not request.param:
        fused = [each for each in recording.sources if SEPARATE.keys() & {*each["kernels"]}]
        kinds = of_each_kind(recording.sources, recording.tables)
        return lines_of([*kinds, *fused], [Job(text, (), (), ARCHITECTURE) for text in PLANTED])
    sources = [each for each in recording.sources if any(map(is_of_project, each["kernels"]))]
    sources.sort(key=lambda source: source["trained"])
    return lines_of({LAYOUT.sub("", each["text"]): each for each in sources}.values())


def test_no_loop_adds_up_in_memory(recorded, proved):
    assert {name for name, lines in recorded if adds_up_in_memory(lines)} == set()
    assert "gpunn_waves_gradient" in dict(recorded)
    proved("kernels of the project, none of whose loops adds up in memory", len(recorded))


def test_loads_do_not_wait_for_stores(recorded, proved):
    assert {name for name, lines in recorded if loads_that_wait(lines)} == set()
    assert {"gpunn_layer_norm", "gpunn_huber_loss", "gpunn_col2im"} <= {*dict(recorded)}
    proved("kernels of the project, in which no load waits for a store", len(recorded))


SEPARATE = {
    "gpunn_scaled_bias_relu_in_place_dropout": (),
    "gpunn_relu_gradient_and_sums_dropout": (),
    "gpunn_relu_gradient_and_sums_scaled_dropout": ("gpunn_factors_gradient",),
    "gpunn_scale_gradient": ("gpunn_factors_gradient",),
    "gpunn_adam_clipped": ("gpunn_adam",),
}
"""For each fused kernel, the separate kernels that round a * b + c only once."""


@pytest.mark.parametrize("fused", SEPARATE)
def test_a_fused_kernel_rounds_as_often_as_separate_kernels(recorded, fused):
    found = {name: multiplies_and_adds(lines) for name, lines in recorded}
    assert found[fused] == sum(found[name] for name in SEPARATE[fused])


ADDS = """extern "C" __global__ void gpunn_k(const float* x, float* y, int n) {
  float& sum = y[threadIdx.x];
  sum = 0;
  for (int i = 0; i < n; ++i) sum += x[i];
}"""
COPIES = """extern "C" __global__ void gpunn_k(const float* x, float* y, int n) {
  for (int i = threadIdx.x; i < n; i += 32) y[i] = x[i] + 1;
}"""

COUNTS = """extern "C" __global__ void gpunn_k(float* x, float* y) {
  x[0] += 1;
  y[0] += 1;
}"""


DISTINCT = re.sub(r"float\* ([xy])", r"float* __restrict__ \1", COPIES)


PLANTED = ADDS, COPIES, COUNTS, DISTINCT


@functools.cache
def planted():
    built = lines_of({"text": text, "options": (), "names": ()} for text in PLANTED)
    return {text: lines for text, (_, lines) in zip(PLANTED, built, strict=True)}


def test_a_sum_in_memory_is_seen():
    assert adds_up_in_memory(planted()[ADDS])
    assert not adds_up_in_memory(planted()[COPIES])


def test_a_load_that_waits_is_seen():
    assert loads_that_wait(planted()[COPIES])
    assert loads_that_wait(planted()[COUNTS]) == 1
    assert not loads_that_wait(planted()[DISTINCT])

"""Tier 3: every CUDA source that training uses builds for real devices, without spills."""

import functools
import itertools
import math
import re
from collections import Counter, defaultdict

import pytest
from documented import table_in
from kernels import registers
from kernels.cubins import ARCHITECTURES, Job, Resources, build_sources, compile_jobs
from kernels.declared import is_of_project, kinds, of_each_kind

pytestmark = pytest.mark.tier(3)

OLDEST = "75"
"""The architecture that every run builds for, in float32."""

REGISTERS_OF_A_BLOCK = 65536
REGISTERS_ALLOCATED_BY = 8  # a thread's registers are rounded up to a multiple of this
SHARED_BYTES = 48 * 1024


DTYPES = {"float": "float32", "double": "float64"}
"""Names of data types in CUDA and in the project."""


def trained(recording):
    return [s for s in recording.sources if s["trained"] and any(map(is_of_project, s["kernels"]))]


def of_type(kind, sources):
    """Return the sources with numbers of a type; for float, also sources without numbers."""
    return [s for s in sources if ("typedef double T;" in s["text"]) == (kind == "double")]


def largest_blocks(recording):
    """Return a function: the most threads in a block of a kernel, or of another of its kind."""
    largest, kind = Counter(), kinds(recording.tables)
    for record in recording.operations:
        for launch in record["launches"]:
            name = kind(launch["kernel"])
            largest[name] = max(math.prod(launch["block"]), largest[name])
    return lambda kernel: largest[kind(kernel)]


def assert_built(sources, built):
    errors = [
        f"{source['kernels']}: {result[:1000]}"
        for source, result in zip(sources, built, strict=True)
        if isinstance(result, str)
    ]
    assert not errors
    for source, result in zip(sources, built, strict=True):
        assert set(source["kernels"]) <= set(result.kernels), "a kernel is missing from the cubin"


def assert_fits(kernel, resources, threads):
    assert resources.frame == 0, f"{kernel}: {resources.frame} bytes of local memory a thread"
    taken = -(-resources.registers // REGISTERS_ALLOCATED_BY) * REGISTERS_ALLOCATED_BY
    assert taken * threads <= REGISTERS_OF_A_BLOCK, f"{kernel}: {resources}, {threads} threads"
    assert resources.shared <= SHARED_BYTES, f"{kernel}: {resources}"


def builds():
    """Yield an architecture, a type, and whether to build every source; all that is for --full."""
    yield pytest.param(OLDEST, "float", False, id=OLDEST)
    for architecture, kind in itertools.product(ARCHITECTURES, DTYPES):
        name = f"{architecture}-{kind}-all"
        yield pytest.param(architecture, kind, True, id=name, marks=pytest.mark.full)


@pytest.mark.parametrize(("architecture", "kind", "everything"), list(builds()))
def test_training_builds(recording_of, proved, architecture, kind, everything):
    recording = recording_of(DTYPES[kind], every_layout=everything)
    every = trained(recording) if everything else of_each_kind(recording.sources, recording.tables)
    sources = of_type(kind, every)
    threads = largest_blocks(recording)
    built = build_sources(sources, architecture, planted())
    assert_built(sources, built)
    of_project = [
        (kernel, resources)
        for result in built
        for kernel, resources in result.kernels.items()
        if is_of_project(kernel)
    ]
    for kernel, resources in of_project:
        assert_fits(kernel, resources, threads(kernel))
    proved("sources of the project, times architectures", len(sources))
    proved("kernels of the project in them, without local memory", len(of_project))


@pytest.mark.full
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_that_cupy_writes_build(recording_of, proved, architecture):
    sources = [
        source
        for dtype in DTYPES.values()
        for source in recording_of(dtype, every_layout=True).sources
        if source["trained"] and not any(map(is_of_project, source["kernels"]))
    ]
    assert_built(sources, build_sources(sources, architecture))
    proved("sources of CuPy's that training asks for, times architectures", len(sources))


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_for_other_layouts_build(recording_of, proved, dtype):
    recording = recording_of(dtype, every_layout=True)
    sources = [source for source in recording.sources if not source["trained"]]
    threads = largest_blocks(recording)
    built = build_sources(sources, "90")
    assert_built(sources, built)
    for result in built:
        for kernel, resources in result.kernels.items():
            if is_of_project(kernel):
                assert_fits(kernel, resources, threads(kernel))
    proved("sources for other layouts, for sm_90", len(sources))


@pytest.mark.full
def test_the_documented_registers_are_current(recording_of, proved):
    written_with, rows = table_in(registers.DOCUMENT, "registers").split("\n", 1)
    installed = f"{registers.COMPILER}{registers.nvrtc()}."
    if written_with != installed:
        pytest.skip(f"tests/kernels/README.md: {written_with} This NVRTC is {registers.nvrtc()}.")
    recordings = [recording_of(dtype, every_layout=True) for dtype in DTYPES.values()]
    sources = [source for recording in recordings for source in recording.sources]
    assert registers.table(sources) == f"{written_with}\n{rows}"
    proved("rows of the table of registers are current", rows.count("\n| `"))


SINGLE_PRECISION = re.compile(
    r"(?<![\w.])\d[\d.]*(e[-+]?\d+)?f\b|\(float\)"
    r"|\b(a?(sin|cos|tan)h?|cbrt|ceil|copysign|(cos|sin)pi|erfc?|exp2?|expm1|fabs|floor|fm(a|in|ax|od)"
    r"|log(2|10|1p)?|pow|r?sqrt|rint|round|trunc)f\("
)
"""A constant, a conversion or a function in single precision."""


def for_float32_alone(source):
    """Return the lines that would round to float32 even in float64, except overloads for float."""
    lines = source["text"].splitlines()
    return [line for line in lines if SINGLE_PRECISION.search(line) and "(float " not in line]


def test_sources_in_float64_compute_in_float64(recording, proved):
    """Sources differ between the types in a typedef alone, so that one type shows it for both."""
    sources = [each for each in recording.sources if any(map(is_of_project, each["kernels"]))]
    assert [line for source in sources for line in for_float32_alone(source)] == []
    proved("sources of the project without single precision except for T", len(sources))


@pytest.mark.parametrize(
    "line", ["v *= 0.5f;", "v += 1e-3f * v;", "v = 1 / expf(-v);", "v = (float)sum;"]
)
def test_single_precision_is_seen(line):
    assert for_float32_alone({"text": line}) == [line]


@pytest.mark.full
def test_both_types_are_among_the_sources(recording_of):
    """Every kernel that training launches with numbers has sources for float32 and float64."""
    types = defaultdict(set)
    recordings = [recording_of(dtype, every_layout=True) for dtype in DTYPES.values()]
    for source in itertools.chain(*map(trained, recordings)):
        for kernel in filter(is_of_project, source["kernels"]):
            types[kernel] |= set(re.findall(r"typedef (\w+) T;", source["text"]))
    assert {"gpunn_adam", "gpunn_batch_norm", "gpunn_gather_rows"} <= types.keys()
    for kernel, found in types.items():
        of_numbers = found & {"float", "double"}
        assert of_numbers in (set(), {"float", "double"}), f"{kernel}: {found}"


ERRORS = {
    # It is built with SHARED first.
    "an unknown function": 'extern "C" __global__ void wrong(float* x) { x[0] = mx(x[0], 0); }',
    "an ambiguous overload": """#include <cuda_fp16.h>
extern "C" __global__ void k(__half* x) { x[0] = max(x[0], 0.5f); }""",
}


def planted():
    """Return the jobs of all sources below, which are built together."""
    of_each = [(INDEXED, ()), (MANY, ()), (MANY, ("--maxrregcount=32",))]
    jobs = [Job(*one, (), number) for one, number in itertools.product(of_each, ("75", "120"))]
    return jobs + [Job(text, (), (), "90") for text in (*ERRORS.values(), SHARED)]


@functools.cache
def built_at_once():
    return compile_jobs(planted())


def build_one(text, *options, architecture="90"):
    return built_at_once()[Job(text, options, (), architecture)]


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_reported(name):
    assert "error" in build_one(ERRORS[name])


INDEXED = """extern "C" __global__ void k(int* x, int n) {
  int local[64];
  for (int i = 0; i < 64; ++i) local[x[i] & 63] = i;
  for (int i = 0; i < n; ++i) x[i] = local[x[i] & 63];
}"""
SHARED = """extern "C" __global__ void k(float* x) {
  __shared__ float stack[300];
  stack[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = stack[blockDim.x - 1 - threadIdx.x];
}"""
MANY = "\n".join(
    [
        'extern "C" __global__ void k(float* x) {',
        *(f"float v{i} = x[threadIdx.x + {i} * blockDim.x];" for i in range(64)),
        "for (int j = 0; j < x[0]; ++j) {",
        *(f"v{i} = v{i} * v{(i + 1) % 64} + x[j];" for i in range(64)),
        "}",
        *(f"x[threadIdx.x + {i} * blockDim.x] = v{i};" for i in range(64)),
        "}",
    ]
)


@pytest.mark.parametrize("architecture", ["75", "120"])
def test_local_memory_is_seen(architecture):
    assert build_one(INDEXED, architecture=architecture).kernels["k"].frame >= 256


@pytest.mark.parametrize("architecture", ["75", "120"])
def test_a_spill_is_seen(architecture):
    free = build_one(MANY, architecture=architecture).kernels["k"]
    squeezed = build_one(MANY, "--maxrregcount=32", architecture=architecture).kernels["k"]
    assert free.frame == 0
    assert free.registers > 64
    assert squeezed.registers <= 32
    assert squeezed.frame > 0


def test_shared_memory_is_seen():
    assert 1200 <= build_one(SHARED).kernels["k"].shared < 2400  # the system reserves some of it


@pytest.mark.parametrize(
    "resources",
    [Resources(32, 8, 0), Resources(129, 0, 0), Resources(32, 0, 50_000)],
    ids=["local memory", "registers", "shared memory"],
)
def test_too_much_is_refused(resources):
    with pytest.raises(AssertionError):
        assert_fits("k", resources, 512)

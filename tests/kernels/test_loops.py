"""Tier 3: loops add up in registers, loads wait for no store, and fusion rounds."""

from __future__ import annotations

import functools
import re

import pytest
from kernels.cubins import build_sources
from kernels.declared import is_of_project, of_each_kind
from kernels.loops import adds_up_in_memory, loads_that_wait, multiplies_and_adds

pytestmark = pytest.mark.tier(3)


ARCHITECTURE = "75"
"""An architecture for which `test_cubins` also builds most of the sources."""

LAYOUT = re.compile(r"(?:, |(?<=<))\d, \d(?:, \d)?(?=>)")
"""Dimensions and flags of an array or indexer in a kernel's arguments."""


def lines_of(sources):
    """Return the PTX of each kernel of the project, by name and source."""
    return [
        (name, [line.strip() for line in ptx.splitlines()])
        for built in build_sources(sources, ARCHITECTURE)
        for name, ptx in built.ptx.items()
        if is_of_project(name)
    ]


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.full)])
def recorded(request, recording):
    """Return the lines of one of the sources that differ only in layouts, a built one if any.

    Without the parameter, return one of the sources that differ only in layouts or an activation.
    """
    if not request.param:
        return lines_of(of_each_kind(recording.sources, recording.tables["FORMULAS"]))
    sources = [each for each in recording.sources if any(map(is_of_project, each["kernels"]))]
    sources.sort(key=lambda source: source["trained"])
    return lines_of({LAYOUT.sub("", each["text"]): each for each in sources}.values())


def test_no_loop_adds_up_in_memory(recorded, proved):
    assert {name for name, lines in recorded if adds_up_in_memory(lines)} == set()
    assert "gpunn_waves_gradient" in dict(recorded)
    proved("kernels of the project, none of whose loops adds up in memory", len(recorded))


def test_loads_do_not_wait_for_stores(recorded, proved):
    assert {name for name, lines in recorded if loads_that_wait(lines)} == set()
    assert {"gpunn_layer_norm", "gpunn_softmax_cross_entropy", "gpunn_col2im"} <= {*dict(recorded)}
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


@functools.cache
def planted():
    """Build all these sources together, since each process of the compiler imports CuPy."""
    texts = ADDS, COPIES, COUNTS, DISTINCT
    built = lines_of({"text": text, "options": (), "names": ()} for text in texts)
    return {text: lines for text, (_, lines) in zip(texts, built, strict=True)}


def test_a_sum_in_memory_is_seen():
    assert adds_up_in_memory(planted()[ADDS])
    assert not adds_up_in_memory(planted()[COPIES])


def test_a_load_that_waits_is_seen():
    assert loads_that_wait(planted()[COPIES])
    assert loads_that_wait(planted()[COUNTS]) == 1
    assert not loads_that_wait(planted()[DISTINCT])

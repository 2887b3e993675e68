"""Test that dropout masks behave like independent coin tosses and never change.

Independent tosses exceed the bounds with a probability of one in a million (4.9 standard
deviations). So all of the hundreds of comparisons here would pass with a probability of 99.9 %.
These tests use NumPy's masks; tests/parity shows that all backends are bitwise identical.
"""

import itertools
import math

import numpy as np
import pytest

from gpunn.backends.hashing import GOLDEN, MIX_1, MIX_2
from gpunn.backends.numpy import NumpyBackend

SIGMAS = 4.9
SIZE = 100_000
KEYS = (0, 1, 2, 0x80000000, 0xFFFFFFFF, 0x12345678, 0x12345679)
BACKEND = NumpyBackend()


def kept(rate, key, number, size=SIZE):
    x, out = np.ones(size), np.empty(size)
    BACKEND.dropout(x, rate, key, np.array([number]), out)
    return (out != 0).astype(float)


def chi_square_bounds(freedom):
    """Return the one-in-a-million quantiles (Wilson & Hilferty 1931)."""
    share = 2 / (9 * freedom)
    return tuple(freedom * (1 - share + z * math.sqrt(share)) ** 3 for z in (-SIGMAS, SIGMAS))


def check_uniform(counts):
    expected = counts.sum() / len(counts)
    low, high = chi_square_bounds(len(counts) - 1)
    assert low < ((counts - expected) ** 2).sum() / expected < high


def check_uncorrelated(a, b, rate, message):
    covariance = np.mean((a - (1 - rate)) * (b - (1 - rate)))
    assert abs(covariance) / (rate * (1 - rate)) < SIGMAS / math.sqrt(a.size), message


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "number", [*(pytest.param(k, marks=pytest.mark.full) for k in (0, 1)), 1000]
)
def test_hash_is_uniform(key, number):
    # An element's hash is in bin k of 256 if rate k / 256 keeps it and rate (k + 1) / 256 doesn't.
    size = 2**15
    above = [size, *(kept(k / 256, key, number, size).sum() for k in range(1, 256)), 0]
    check_uniform(-np.diff(above))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_rate(rate, key):
    for number in range(5):
        share = kept(rate, key, number).mean()
        assert abs(share - (1 - rate)) < SIGMAS * math.sqrt(rate * (1 - rate) / SIZE)


DISTINCT = {
    "passes": [(77, number) for number in (*range(10), 1000, 1001, 2**31, 2**32 - 1)],
    "layers": [(key, 3) for key in KEYS],
}
"""Keys of layers, and numbers of passes."""


@pytest.mark.parametrize("of", DISTINCT)
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_passes_and_layers_are_independent(rate, of):
    masks = [(source, kept(rate, *source)) for source in DISTINCT[of]]
    for (i, a), (j, b) in itertools.combinations(masks, 2):
        check_uncorrelated(a, b, rate, f"{of} {i} and {j}")


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_neighbors_are_independent(rate):
    mask = kept(rate, 5, 9)
    for lag in (*range(1, 33), 64, 100, 128, 512, 784, 1024, 16384):
        check_uncorrelated(mask[:-lag], mask[lag:], rate, f"elements {lag} apart")


@pytest.mark.parametrize("width", [2, 3, 4])
def test_runs_of_neighbors_are_uniform(width):
    bits = kept(0.5, 21, 4)[: SIZE - SIZE % width].reshape(-1, width)
    patterns = bits @ 2 ** np.arange(width)
    check_uniform(np.bincount(patterns.astype(int), minlength=2**width))


def test_an_element_is_tossed_again_in_every_pass():
    tosses = np.array([kept(0.5, 8, number, size=16) for number in range(4096)])
    for element in range(16):
        series = tosses[:, element]
        check_uncorrelated(series[:-1], series[1:], 0.5, f"element {element}")
        assert abs(series.mean() - 0.5) < SIGMAS * 0.5 / math.sqrt(4096)


def mix(h):
    """Wellons' lowbias32, computed with Python integers."""
    h ^= h >> 16
    h = h * MIX_1 % 2**32
    h ^= h >> 15
    h = h * MIX_2 % 2**32
    return h ^ h >> 16


@pytest.mark.parametrize(
    ("key", "number", "first_64"),
    [
        (0, 0, "01071ad98b0b13c2"),
        (0, 1, "80e40a7cd09033f8"),
        (0xDEADBEEF, 12345, "88eec0d436318de5"),
        (0xFFFFFFFF, 2**40 + 7, "f946054f55e45e46"),
    ],
)
def test_masks_never_change(key, number, first_64):
    # Saved runs resume with these masks, on CPU and GPU.
    mask = kept(0.5, key, number, size=64).astype(int)
    assert f"{int(''.join(map(str, mask)), 2):016x}" == first_64
    pass_key = mix(number * GOLDEN % 2**32 ^ key)
    expected = [int(mix(i * GOLDEN % 2**32 ^ pass_key) >= 2**31) for i in range(64)]
    assert mask.tolist() == expected


def test_constants_never_change():
    assert (MIX_1, MIX_2, GOLDEN) == (0x7FEB352D, 0x846CA68B, 0x9E3779B9)

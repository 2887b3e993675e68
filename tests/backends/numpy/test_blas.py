"""The BLAS that NumPy has loaded, and how many threads it may use."""

from types import SimpleNamespace

import numpy as np
import pytest

import gpunn
from gpunn.backends import operation
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.numpy.blas import NAMES, Blas, find_blas


@pytest.fixture
def blas():
    found = find_blas()
    if found is None:
        pytest.skip("NumPy's BLAS has no product that can be called by address")
    return found


def test_products_have_addresses(blas):
    assert set(blas.products) == {"float32", "float64"}
    assert all(blas.products.values())


@pytest.mark.parametrize(
    ("machine", "api", "core", "expected"),
    [
        ("x86_64", "openblas", "SkylakeX", 64),
        ("x86_64", "openblas", "SKYLAKEX", 64),  # built for this processor alone
        ("x86_64", "openblas", "Haswell", 32),
        ("x86_64", "openblas", "Unknown", None),
        ("x86_64", "openblas", None, None),  # too old to say so
        ("x86_64", "blis", "zen4", None),
        ("x86_64", "mkl", None, None),
        ("aarch64", "openblas", "neoversen1", None),
    ],
)
def test_the_size_of_vectors_is_that_of_the_code_in_use(
    blas, monkeypatch, machine, api, core, expected
):
    monkeypatch.setattr("gpunn.backends.numpy.blas.X86", machine == "x86_64")
    dynlib = blas._library.dynlib
    library = SimpleNamespace(dynlib=dynlib, internal_api=api, architecture=core)
    name = next(name for name, _ in NAMES if hasattr(library.dynlib, name.format("s")))
    assert Blas(library, name, blas.wide).vector_bytes == expected


def test_the_limit_holds_inside_and_ends_with_it(blas):
    before = blas.threads
    with blas.limited(1):
        assert blas.threads == 1
    assert blas.threads == before


def test_the_limit_ends_with_an_error_too(blas):
    before = blas.threads
    with pytest.raises(ValueError, match="no"), blas.limited(1):
        raise ValueError("no")
    assert blas.threads == before


def test_training_keeps_to_the_threads_asked_for(blas):
    seen = []

    class Watching(NumpyBackend):
        @operation
        def update(self, *arguments):
            seen.append(blas.threads)
            super().update(*arguments)

    model = gpunn.Sequential([gpunn.layers.Dense(2)], input_shape=(3,), backend=Watching(threads=1))
    trainer = gpunn.Trainer(model, "mean_squared_error")
    trainer.fit(np.ones((4, 3)), np.ones((4, 2)), progress=False)
    assert seen == [1]

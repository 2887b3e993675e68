"""Test the limit of threads of NumPy's BLAS."""

import numpy as np
import pytest

import gpunn
from gpunn.backends import operation
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.numpy.blas import controller, limit_threads

if not controller().lib_controllers:
    pytest.skip("NumPy has a BLAS that threadpoolctl does not know", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("two_blas_threads")


def threads():
    return [library.get_num_threads() for library in controller().lib_controllers]


def test_the_limit_holds_inside_and_ends_with_it():
    before = threads()
    assert set(before) == {2}
    with limit_threads(1):
        assert set(threads()) == {1}
    assert threads() == before


def test_fewer_threads_stay_fewer():
    with limit_threads(1), limit_threads(64):
        assert set(threads()) == {1}


def test_the_limit_ends_with_an_error_too():
    before = threads()
    with pytest.raises(ValueError, match="no"), limit_threads(1):
        raise ValueError("no")
    assert threads() == before


def test_training_keeps_to_the_threads_asked_for():
    seen = []

    class Watching(NumpyBackend):
        @operation
        def update(self, *arguments):
            seen.append(set(threads()))
            super().update(*arguments)

    model = gpunn.Sequential([gpunn.layers.Dense(2)], input_shape=(3,), backend=Watching(threads=1))
    trainer = gpunn.Trainer(model, "mean_squared_error")
    trainer.fit(np.ones((4, 3)), np.ones((4, 2)), progress=False)
    assert seen == [{1}]

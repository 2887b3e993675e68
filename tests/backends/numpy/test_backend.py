from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from gpunn import activations
from gpunn.activations import ReLU
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.operations import Segment, Trained
from gpunn.optimizers import SGD


def test_describes_itself():
    described = NumpyBackend().describe()
    assert described["backend"] == "numpy"
    assert described["device"].startswith("cpu (")
    assert described["library"] == f"numpy {np.__version__}"


def test_a_subclass_does_not_use_the_kernel_of_its_base():
    @dataclass(frozen=True)
    class Capped(ReLU):
        name = "test_capped"

        def value(self, xp, z):
            return xp.minimum(xp.maximum(z, 0.0), 1.0)

    @dataclass(eq=False)
    class Still(SGD):
        name = "test_still"

        def update(self, xp, values, gradients, slots, learning_rate, step):
            pass

    backend = NumpyBackend()
    z = np.array([[-1.0, 0.5, 9.0]])
    backend.activate(Capped(), z, None, z)
    assert z.tolist() == [[0, 0.5, 1]]
    values = np.ones(3)
    backend.update(
        Still(), Trained(values, values, {}, [Segment(0, 3)]), np.array([0.1]), np.array([1])
    )
    assert values.tolist() == [1, 1, 1]


def test_two_backends_and_two_threads_do_not_disturb_each_other():
    backend = NumpyBackend()
    z = np.random.default_rng(0).standard_normal((64, 1024))
    expected = z.copy()
    backend.activate(activations.GELU(), expected, None, expected)
    zs = [z.copy() for _ in range(4)]
    outs = [np.empty_like(z) for _ in range(4)]

    def work(index):
        for _ in range(5):
            backend.activate(activations.GELU(), zs[index], None, outs[index])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    for out in outs:
        np.testing.assert_array_equal(out, expected)

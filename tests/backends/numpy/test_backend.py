from dataclasses import dataclass

import numpy as np

from gpunn.activations import ReLU
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.operations import Segment, Trained
from gpunn.optimizers import SGD


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

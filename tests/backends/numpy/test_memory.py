import numpy as np

from gpunn.backends.numpy.memory import contiguous


def test_contiguous():
    a = np.zeros((3, 4), np.float32)
    assert contiguous(a, a.copy())
    assert not contiguous(a, a.T)
    assert not contiguous(a, a[:, ::2])
    assert not contiguous(a, a.astype(np.float64))

"""An MLP with Adam, in array-API calls, on NumPy and on CuPy: the same losses and parameters."""

import itertools

import array_api_compat
import cupy
import emulated_cuda
import numpy as np

SIZES = (20, 32, 5)


def train(library, X, Y, steps):
    """Softmax cross-entropy, ReLU, Adam over one flat parameter vector."""
    r = np.random.default_rng(1)
    x, y = library.asarray(X), library.asarray(Y)
    xp = array_api_compat.array_namespace(x)
    shapes = [shape for i, o in itertools.pairwise(SIZES) for shape in ((i, o), (o,))]
    ends = np.cumsum([int(np.prod(s)) for s in shapes])
    values = library.asarray((r.standard_normal(int(ends[-1])) * 0.1).astype("float32"))
    gradients, m, v = xp.zeros_like(values), xp.zeros_like(values), xp.zeros_like(values)

    def views(flat):
        return [
            xp.reshape(flat[end - int(np.prod(s)) : end], s)
            for end, s in zip(ends, shapes, strict=True)
        ]

    (W1, b1, W2, b2), (dW1, db1, dW2, db2) = views(values), views(gradients)
    onehot = xp.astype(y[:, None] == xp.arange(SIZES[-1]), xp.float32)
    zero = xp.asarray(0, dtype=xp.float32)
    losses = []
    for t in range(1, steps + 1):
        h = xp.maximum(x @ W1 + b1, zero)
        z = h @ W2 + b2
        z = z - xp.max(z, axis=1, keepdims=True)
        p = xp.exp(z) / xp.sum(xp.exp(z), axis=1, keepdims=True)
        losses.append(float(-xp.mean(xp.log(xp.sum(p * onehot, axis=1)))))
        dz = (p - onehot) / X.shape[0]
        dh = (dz @ W2.T) * xp.astype(h > 0, xp.float32)
        dW2[...], db2[...] = h.T @ dz, xp.sum(dz, axis=0)
        dW1[...], db1[...] = x.T @ dh, xp.sum(dh, axis=0)
        m[...] = 0.9 * m + 0.1 * gradients
        v[...] = 0.999 * v + 0.001 * gradients**2
        values -= 0.01 * (m / (1 - 0.9**t)) / (xp.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return losses, values


def test_mlp_trains_as_on_numpy(rng):
    X = rng.standard_normal((64, SIZES[0])).astype("float32")
    Y = rng.integers(0, SIZES[-1], 64)
    expected, expected_values = train(np, X, Y, steps=15)
    with emulated_cuda.counters() as counts:
        losses, values = train(cupy, X, Y, steps=15)
    assert losses[-1] < 0.7 * losses[0]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(values.get(), expected_values, rtol=1e-3, atol=1e-5)
    assert counts.host_syncs == 15, "one float(loss) a step"
    assert counts.matmuls == {"float32": 15 * 5}
    assert not counts.float64

import numpy as np
from layers.checking import prepared, run

from gpunn.layers import Dropout, Flatten


def test_dropout_zeroes_or_scales(backend):
    layer = Dropout(0.25)
    _, workspace = prepared(backend, layer, (40,))
    y = run(layer, backend.from_host(np.full((50, 40), 3.0), "float32"), workspace)
    assert set(np.unique(y)) == {np.float32(0), np.float32(3) * np.float32(1 / 0.75)}


def test_dropout_keeps_its_mask_in_the_backward_pass_and_changes_it_after(backend):
    layer = Dropout(0.5)
    _, workspace = prepared(backend, layer, (40,))
    ones = np.ones((50, 40))
    x = backend.from_host(ones, "float32")
    masks = []
    for _ in range(2):
        backend.increment(workspace.passes, 1)
        y = layer.forward(x, workspace)
        forward = backend.to_host(y)
        gradient = backend.from_host(ones.copy(), "float32")
        back = layer.backward(x, y, gradient, workspace, True)
        np.testing.assert_array_equal(backend.to_host(back), forward)
        masks.append(forward)
    assert (masks[0] != masks[1]).any()


def test_dropout_rests_outside_training(backend):
    layer = Dropout(0.5)
    _, workspace = prepared(backend, layer, (4,), training=False)
    x = backend.from_host(np.ones((2, 4)), "float32")
    assert layer.forward(x, workspace) is x


def test_flatten_is_row_major(backend):
    layer = Flatten()
    _, workspace = prepared(backend, layer, (2, 3))
    x = backend.from_host(np.arange(12.0).reshape(2, 2, 3), "float32")
    assert run(layer, x, workspace).tolist() == np.arange(12.0).reshape(2, 6).tolist()
    assert layer.output_shape((2, 3, 4)) == (24,)
    assert layer.output_shape(()) == (1,)

"""Compare layers on images and signals with PyTorch, if it is installed."""

import numpy as np
import pytest
from layers.test_pytorch_modules import compare, same, trained_arrays

from gpunn import layers

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn

IMAGE, SIGNAL = (7, 6, 4), (9, 4)

LAYERS = {
    # the layer, PyTorch's module, the zeros to add before the module, as (left, right, top, bottom)
    "convolution": (layers.Conv2D(5, (3, 2)), nn.Conv2d(4, 5, (3, 2)), ()),
    "strides": (layers.Conv2D(5, 3, (2, 3)), nn.Conv2d(4, 5, 3, (2, 3)), ()),
    "dilation": (layers.Conv2D(5, 2, 1, "valid", (3, 2)), nn.Conv2d(4, 5, 2, 1, 0, (3, 2)), ()),
    "same": (layers.Conv2D(5, 3, padding="same"), nn.Conv2d(4, 5, 3, padding=1), ()),
    "same, strides": (
        layers.Conv2D(5, (4, 3), 2, "same"), nn.Conv2d(4, 5, (4, 3), 2), (0, 1, 1, 2),
    ),
    "groups": (
        layers.Conv2D(6, 3, groups=2, bias=False), nn.Conv2d(4, 6, 3, groups=2, bias=False), (),
    ),
    "depthwise": (layers.Conv2D(4, 3, groups=4), nn.Conv2d(4, 4, 3, groups=4), ()),
    "of signals": (layers.Conv1D(5, 4, 2, "same"), nn.Conv1d(4, 5, 4, 2), (1, 2)),
    "max pool": (layers.MaxPool2D((3, 2)), nn.MaxPool2d((3, 2)), ()),
    "max pool, same": (layers.MaxPool2D(3, 1, "same"), nn.MaxPool2d(3, 1, 1), ()),
    "max pool of signals": (layers.MaxPool1D(3, 2), nn.MaxPool1d(3, 2), ()),
    "average pool": (layers.AveragePool2D(2), nn.AvgPool2d(2), ()),
    "average pool, same": (
        layers.AveragePool2D(3, 1, "same"), nn.AvgPool2d(3, 1, 1, False, False), (),
    ),
    "average pool of signals": (layers.AveragePool1D(4, 1), nn.AvgPool1d(4, 1), ()),
    "global average pool": (layers.GlobalAveragePool2D(), nn.AdaptiveAvgPool2d(1), ()),
    "global average pool of signals": (layers.GlobalAveragePool1D(), nn.AdaptiveAvgPool1d(1), ()),
    "up-sampling": (layers.UpSampling2D((2, 3)), nn.Upsample(scale_factor=(2, 3)), ()),
    "batch norm": (layers.BatchNorm(), nn.BatchNorm2d(4), ()),
    "batch norm of signals": (layers.BatchNorm(), nn.BatchNorm1d(4), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_images(name):
    layer, module, padding = LAYERS[name]
    shape = SIGNAL if "signals" in name else IMAGE
    trained_arrays(layer, shape)
    module.double()

    def arranged(weights):
        """Return a convolution's weights in PyTorch's order."""
        size = getattr(layer, "kernel_size", ())
        return np.moveaxis(weights.reshape(*size, -1, weights.shape[1]), (-1, -2), (0, 1))

    def channels_last(x):
        x = nn.functional.pad(torch.movedim(x, -1, 1), padding)
        return torch.movedim(module(x), 1, -1)

    names = {"weights": "weight", "biases": "bias", "scale": "weight", "shift": "bias"}
    pairs = [
        (own, getattr(module, names[own]), arranged if own == "weights" else same)
        for own in layer.gradients
    ]
    compare(layer, channels_last, shape, pairs)

from dataclasses import dataclass

import numpy as np
import pytest

import gpunn
from gpunn import layers
from gpunn.configurable import resolve
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.layers import Layer


def test_a_layer_that_compares_by_value_is_refused():
    @dataclass
    class Equal(Layer):
        name = "test_equal"

    with pytest.raises(ArgumentTypeError, match=r"Equal: .*@dataclass\(eq=False\)"):
        Equal()


def test_methods_that_a_layer_must_define():
    @dataclass(eq=False)
    class Empty(Layer):
        name = "test_empty"

    layer = Empty()
    assert layer.output_shape((3, 4)) == (3, 4)
    assert layer.parameters((3,)) == []
    assert layer.adapt(np.ones((2, 3))) == {}
    with pytest.raises(NotImplementedError, match="Empty must define forward"):
        layer.forward(None, None)
    with pytest.raises(NotImplementedError, match="Empty must define backward"):
        layer.backward(None, None, None, None, True)


def test_label():
    assert "label" not in layers.Flatten().config()
    assert layers.Flatten(label="flat").config() == {"name": "flatten", "label": "flat"}
    with pytest.raises(ArgumentTypeError, match="label: expected a string; got 3"):
        layers.Flatten(label=3)


@pytest.mark.parametrize("layer", [layers.Dense(2), layers.Standardization()])
def test_layers_of_vectors_refuse_images(layer):
    with pytest.raises(ArgumentError, match=r"shape \(4, 4\). Insert gpunn.layers.Flatten\(\) bef"):
        gpunn.Sequential([layer], (4, 4), "numpy")


def factors(*parts):
    model = gpunn.Sequential(parts, 4, "numpy")
    return {
        name: (spec.rate, spec.decay)
        for name, spec in model.parameters.specs.items()
        if spec.trainable
    }


def test_factors_are_for_all_parameters_or_by_name():
    Dense, Chain = layers.Dense, layers.Chain
    assert factors(
        Dense(3),
        Dense(3, learning_rate_factor=6, weight_decay_factor=0.5),
        Dense(3, learning_rate_factor={"biases": 0.1}, weight_decay_factor={"biases": 2}),
        layers.BatchNorm(weight_decay_factor=0.5),
        Chain(
            [Dense(3, learning_rate_factor=3.0), Dense(2, weight_decay_factor={"weights": 0})],
            learning_rate_factor=2.0,
            weight_decay_factor={"dense_1.biases": 1.0},
        ),
    ) == {
        "dense_1.weights": (1.0, True),
        "dense_1.biases": (1.0, False),
        "dense_2.weights": (6.0, 0.5),
        "dense_2.biases": (6.0, False),
        "dense_3.weights": (1.0, True),
        "dense_3.biases": (0.1, 2.0),
        "batch_norm_1.scale": (1.0, False),
        "batch_norm_1.shift": (1.0, False),
        "chain_1.dense_1.weights": (6.0, True),
        "chain_1.dense_1.biases": (6.0, 1.0),
        "chain_1.dense_2.weights": (2.0, 0.0),
        "chain_1.dense_2.biases": (2.0, False),
    }


def test_factors_are_part_of_the_configuration_if_there_are_any():
    parameters = {"learning_rate_factor": {"biases": 0.1}, "weight_decay_factor": 0.5}
    layer = layers.Dense(3, **parameters)
    assert layer.config().items() >= parameters.items()
    assert resolve(Layer, layer.config(), "layer").config() == layer.config()
    assert not layers.Dense(3).config().keys() & parameters.keys()


@pytest.mark.parametrize("argument", ["learning_rate_factor", "weight_decay_factor"])
def test_factors_for_parameters_that_there_are_not(argument):
    layer = layers.Dense(3, label="first", **{argument: {"bias": 1.0}})
    for part in (layer, layers.Chain([layer], label="first")):
        message = (
            f"layer 'first': {argument}: dense has no trainable .*'bias'; did you mean 'biases'"
        )
        with pytest.raises(ArgumentError, match=message):
            gpunn.Sequential([part], 4, "numpy")
    model = gpunn.Sequential([layers.Dense(3)], 4, "numpy")
    with pytest.raises(AttributeError, match=argument):
        setattr(model.layers[0], argument, 2.0)

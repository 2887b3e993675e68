"""Configurations of small networks for scikit-learn's digits."""

import json

DENSE = '{ name = "dense", units = 16, activation = "relu" }'
BATCH_NORM = '{ name = "batch_norm" }'
COSINE = '{ name = "adam", learning_rate = { name = "cosine", rate = 0.01 } }'


def dropout(rate):
    return f'{{ name = "dropout", rate = {rate} }}'


def configuration(*hidden, **training):
    layers = ['{ name = "rescaling", scale = 0.0625 }', *hidden, '{ name = "dense", units = 10 }']
    listed = "".join(f"    {layer},\n" for layer in layers)
    settings = {"loss": "softmax_cross_entropy", "metrics": ["accuracy"], **training}
    lines = [
        f"{key} = {value if str(value).startswith('{') else json.dumps(value)}\n"
        for key, value in settings.items()
    ]
    return f"""\
[data]
dataset = "digits"
validation_fraction = 0.2

[model]
layers = [
{listed}]

[training]
{"".join(lines)}"""


DIGITS = configuration(
    *(DENSE, dropout(0.1), BATCH_NORM),
    optimizer=COSINE,
    epochs=4,
    batch_size=64,
    checkpoint_every=1,
)

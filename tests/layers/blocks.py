"""Blocks with every kind of formula, for tests of chain rules and of training."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gpunn import layers
from gpunn.initializers import Normal, Ones
from gpunn.layers import Block, Dense, Layer
from gpunn.parameters import ParameterSpec


def weights(*shape):
    return ParameterSpec("weights", shape, Normal(0.5))


@dataclass(eq=False)
class Halved(layers.Residual):
    """(x + f(x)) / 2."""

    name = "test_halved"

    def forward(self, x):
        return 0.5 * super().forward(x)


class Gate(Block):
    """x sigmoid(x W + b)."""

    name = "test_gate"

    def own_parameters(self, input_shape):
        return [weights(input_shape[-1], input_shape[-1]), ParameterSpec("b", (1,), Ones())]

    def forward(self, xp, x):
        return x / (1 + xp.exp(-(x @ self.values["weights"] + self.values["b"])))


class Tied(Block):
    """tanh(x W) W^T, and a product of functions of parameters."""

    name = "test_tied_weights"

    def own_parameters(self, input_shape):
        return [weights(input_shape[-1], 3)]

    def forward(self, xp, x):
        W = self.values["weights"]
        normed = W / xp.sqrt(xp.sum(W * W, axis=0, keepdims=True))
        return xp.tanh(x @ W) @ W.T + xp.matmul(x, xp.exp(W)) @ normed.T


class Features(Block):
    """Maxima, sums and columns of each row."""

    name = "test_features"

    def forward(self, xp, x):
        power = xp.exp(x - xp.max(x, axis=1, keepdims=True))
        share = power / xp.sum(power, axis=1, keepdims=True)
        return share * x[:, :1] + xp.where(x > 0, x, 0.1 * x[:, 1:2])


class Share(Block):
    """A row's sum, shared among seven features."""

    name = "test_share"

    def own_parameters(self, input_shape):
        return [weights(7)]

    def forward(self, xp, x):
        return xp.sum(x, axis=1, keepdims=True) * self.values["weights"]


class Neighbors(Block):
    """Features divided by their neighbors, with zeros at the ends."""

    name = "test_neighbors"

    def forward(self, xp, x):
        squares, zeros = x * x, xp.zeros((*x.shape[:-1], 1))
        left = xp.concat([zeros, squares[..., :-1]], axis=-1)
        right = xp.concat([squares[..., 1:], zeros], axis=-1)
        return xp.concat([x / (1 + left + right), xp.exp(-left)], axis=-1)


class Attention(Block):
    """Features weighted by a softmax over the features of each member."""

    name = "test_attention"

    def forward(self, xp, x):
        power = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        return x * power / xp.sum(power, axis=-1, keepdims=True)


@dataclass(eq=False)
class Normed(Block):
    """x + f(x), divided by its length."""

    body: Layer

    name = "test_normed"

    def forward(self, xp, x):
        y = x + self.body(x)
        return y / xp.sqrt(xp.sum(y * y, axis=-1, keepdims=True) + 0.1)


class Broadcast(Block):
    """Parameters that are broadcast over axes, and one that is unused."""

    name = "test_broadcast"

    def own_parameters(self, input_shape):
        shapes = {"all": (1,), "last": input_shape[-1:], "column": (*input_shape[:-1], 1)}
        shapes["unused"] = (2,)
        return [ParameterSpec(name, shape, Normal(1.0)) for name, shape in shapes.items()]

    def forward(self, x):
        v = self.values
        return x * v["all"] + v["last"] * x * x + v["column"]


@dataclass(eq=False)
class Twice(Block):
    """A layer that is called three times, once with its own output."""

    body: Layer

    name = "test_twice"

    def forward(self, x):
        first = self.body(x)
        return first * self.body(0.5 * x) + self.body(first)


@dataclass(eq=False)
class Reversed(Block):
    """Two layers, of which the second one is called first."""

    after: Layer
    before: Layer

    name = "test_reversed"

    def forward(self, x):
        return self.after(self.before(x))


@dataclass(eq=False)
class Shortcuts(Block):
    """Each layer sees the outputs of all earlier ones; one layer is never called."""

    layers: Sequence[Layer]
    unused: Layer = field(default_factory=lambda: Dense(2))

    name = "test_shortcuts"

    def forward(self, xp, x):
        for layer in self.layers:
            x = xp.concat([x, layer(x)], axis=-1)
        return x


@dataclass(eq=False)
class Following(Block):
    """Layers one after the other, which a field does not contain."""

    units: int = 3

    name = "test_sequence"

    def __post_init__(self):
        super().__post_init__()
        self.first, self.second = Dense(self.units, "tanh"), Dense(self.units)

    def forward(self, x):
        return self.second(self.first(x))


class Same(Block):
    name = "test_same_rows"

    def forward(self, x):
        return x


def residual(*inner):
    return layers.Residual(list(inner))


def branches():
    """Return three branches, with layers that return their input and overwrite gradients."""
    return [
        [Dense(4, "tanh"), layers.Flatten()],
        [],
        [layers.Activation("silu"), layers.Rescaling(0.5), layers.BatchNorm(), layers.Dropout(0.3)],
    ]


BLOCKS = {
    "residual": (lambda: residual(Dense(5, "gelu"), layers.LayerNorm(), Dense(4)), (4,)),
    "residual, shortcut": (lambda: layers.Residual([Dense(3)], [Dense(3, "tanh")]), (4,)),
    "residual of members": (lambda: residual(layers.MemberDense(4, "tanh")), (3, 4)),
    "subclass": (lambda: Halved([Dense(4, "tanh")]), (4,)),
    "add": (lambda: layers.Add(branches()), (4,)),
    "multiply": (lambda: layers.Multiply(branches()), (4,)),
    "concatenate": (lambda: layers.Concatenate(branches()), (4,)),
    "concatenate members": (
        lambda: layers.Concatenate([[], [layers.MemberDense(2)], [layers.Scale()]]),
        (3, 4),
    ),
    "one branch": (lambda: layers.Add([[Dense(3)]]), (4,)),
    "blocks in blocks": (
        lambda: layers.Multiply([[residual(residual(Dense(4, "silu")), Gate())], [Gate()]]),
        (4,),
    ),
    "gate": (Gate, (4,)),
    "gate of members": (Gate, (3, 4)),
    "tied": (Tied, (4,)),
    "features": (Features, (4,)),
    "share": (Share, (4,)),
    "neighbors": (Neighbors, (4,)),
    "neighbors of members": (Neighbors, (3, 4)),
    "attention": (Attention, (3, 4)),
    "normed": (lambda: Normed(Dense(4)), (4,)),
    "normed, changed gradient": (lambda: Normed(Dense(4, "relu")), (4,)),
    "broadcast": (Broadcast, (4,)),
    "broadcast to members": (Broadcast, (3, 4)),
    "shortcuts": (lambda: Shortcuts([Dense(2, "tanh"), "layer_norm", Dense(3)]), (4,)),
    "sequence": (Following, (4,)),
    "same": (Same, (4,)),
    **{
        f"twice, {name}": (lambda make=make: Twice(make()), (4,))
        for name, make in {
            "dense": lambda: Dense(4, "tanh"),
            "batch norm": layers.BatchNorm,
            "dropout": lambda: layers.Dropout(0.4),
            "chain": lambda: layers.Chain([Dense(3, "gelu"), layers.BatchNorm(), Dense(4)]),
            "block": lambda: residual(Dense(4, "tanh"), Gate()),
            "block twice": lambda: Twice(Dense(4, "tanh")),
        }.items()
    },
}

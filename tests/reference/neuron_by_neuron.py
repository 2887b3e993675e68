"""The tutorial's system, neuron by neuron: the independent oracle of `gpunn.NeuralNetwork`.

Nothing of gpunn is used here. Every neuron is an object with its own weights, and every sum is a
loop over neurons, rows or weights in plain Python floats, which are float64.
"""

from dataclasses import dataclass, field


@dataclass
class Neuron:
    """a = max(0, sum_i x_i w_i + b)."""

    weights: list[float]
    bias: float
    weight_gradients: list[float] = field(default_factory=list)
    bias_gradient: float = 0.0

    def preactivation(self, x: list[float]) -> float:
        return (
            sum(value * weight for value, weight in zip(x, self.weights, strict=True)) + self.bias
        )

    def activate(self, x: list[float]) -> float:
        return max(0.0, self.preactivation(x))

    def start_batch(self) -> None:
        self.weight_gradients = [0.0] * len(self.weights)
        self.bias_gradient = 0.0

    def backpropagate(self, x: list[float], gradient: float) -> list[float]:
        """From dC/da: add to dC/dw and dC/db, and return this neuron's part of dC/dx."""
        slope = gradient if self.preactivation(x) > 0 else 0.0
        for index, value in enumerate(x):
            self.weight_gradients[index] += slope * value
        self.bias_gradient += slope
        return [slope * weight for weight in self.weights]

    def descend(self, learning_rate: float) -> None:
        for index, gradient in enumerate(self.weight_gradients):
            self.weights[index] -= learning_rate * gradient
        self.bias -= learning_rate * self.bias_gradient


@dataclass
class Layer:
    neurons: list[Neuron]

    def forward(self, x: list[float]) -> list[float]:
        return [neuron.activate(x) for neuron in self.neurons]

    def backward(self, x: list[float], gradient: list[float]) -> list[float]:
        parts = [
            neuron.backpropagate(x, slope)
            for neuron, slope in zip(self.neurons, gradient, strict=True)
        ]
        return [sum(column) for column in zip(*parts, strict=True)]


@dataclass
class NeuralNetwork:
    layers: list[Layer]

    def forward(self, x: list[float]) -> list[list[float]]:
        values = [x]
        for layer in self.layers:
            values.append(layer.forward(values[-1]))
        return values

    def train(
        self,
        X: list[list[float]],
        y: list[list[float]],
        epochs: int,
        learning_rate: float,
        batch_size: int,
    ) -> list[float]:
        """Return the printed losses: the mean squared error over all elements, epoch by epoch."""
        losses = []
        for _ in range(epochs):
            total = 0.0
            for start in range(0, len(X), batch_size):
                rows, targets = X[start : start + batch_size], y[start : start + batch_size]
                total += self.train_batch(rows, targets, learning_rate) * len(rows)
            losses.append(total / len(X))
        return losses

    def train_batch(
        self, rows: list[list[float]], targets: list[list[float]], learning_rate: float
    ) -> float:
        """Update once and return the batch's mean squared error over all elements, before that."""
        for layer in self.layers:
            for neuron in layer.neurons:
                neuron.start_batch()
        squares = 0.0
        for x, wanted in zip(rows, targets, strict=True):
            values = self.forward(x)
            differences = [p - t for p, t in zip(values[-1], wanted, strict=True)]
            squares += sum(d * d for d in differences)
            gradient = [2 * d / len(rows) for d in differences]
            for layer, value in zip(reversed(self.layers), reversed(values[:-1]), strict=True):
                gradient = layer.backward(value, gradient)
        for layer in self.layers:
            for neuron in layer.neurons:
                neuron.descend(learning_rate)
        return squares / (len(rows) * len(targets[0]))

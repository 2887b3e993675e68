// A recorded training: its arrays, and values derived from them.
"use strict";

function numbers(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer); // little-endian, as is every processor with a browser
}

/** Return images as rows of 64 numbers from 0 to 1; "a" to "q" are sixteenths. */
function images(text) {
  const pixels = Float32Array.from(text, (letter) => (letter.charCodeAt(0) - 97) / 16);
  return Array.from({ length: pixels.length / 64 }, (_, i) => pixels.subarray(64 * i, 64 * i + 64));
}

/**
 * Neurons are numbered through both layers: first the hidden layer, then the outputs. The last
 * "input" of a neuron is 1, for its bias.
 */
class Run {
  constructor(recorded) {
    const { sizes, steps, steps_per_epoch, batch_size, kept, rate } = recorded;
    [this.inputs, this.hidden, this.outputs] = sizes;
    this.neurons = this.hidden + this.outputs;
    Object.assign(this, { steps, batch: batch_size, kept, rate, stepsPerEpoch: steps_per_epoch });
    for (const name of ["gradients", "sums", "derivatives", "losses"]) {
      this[name] = numbers(recorded[name]);
    }
    this.totalLosses = numbers(recorded.total_losses);
    this.accuracies = numbers(recorded.accuracies);
    this.classes = this.outputs > 1;
    if (this.classes) {
      this.rows = images(recorded.images);
      this.targets = recorded.labels;
      this.tests = images(recorded.test_images);
      this.testTargets = recorded.test_labels;
    } else {
      const flat = numbers(recorded.inputs);
      this.rows = Array.from(recorded.targets, (_, i) => flat.subarray(2 * i, 2 * i + 2));
      this.targets = recorded.targets;
    }
    this._weights = this._replay(numbers(recorded.start));
  }

  /** Weights before each step and after the last. */
  _replay(start) {
    const weights = [Float64Array.from(start)];
    for (let step = 0; step < this.steps; step++) {
      const gradient = this.gradient(step);
      weights.push(weights[step].map((w, i) => w - this.rate * gradient[i]));
    }
    return weights;
  }

  weights(step) {
    return this._weights[step];
  }

  gradient(step) {
    const size = this._parameters();
    return this.gradients.subarray(step * size, step * size + size);
  }

  _parameters() {
    return (this.inputs + 1) * this.hidden + (this.hidden + 1) * this.outputs;
  }

  isOutput(neuron) {
    return neuron >= this.hidden;
  }

  /** How many inputs a neuron has, not counting the 1 of its bias. */
  fanIn(neuron) {
    return this.isOutput(neuron) ? this.hidden : this.inputs;
  }

  /** The position of a neuron's weight in the flat arrays; the last input's is the bias. */
  place(neuron, input) {
    if (!this.isOutput(neuron)) return input * this.hidden + neuron;
    const first = (this.inputs + 1) * this.hidden;
    return first + input * this.outputs + neuron - this.hidden;
  }

  /** The row of a sample of a step's batch; the first `kept` of each batch are recorded. */
  row(step, sample) {
    return (step % this.stepsPerEpoch) * this.kept + sample;
  }

  _entry(array, step, sample, neuron) {
    return array[(step * this.kept + sample) * this.neurons + neuron];
  }

  sum(step, sample, neuron) {
    return this._entry(this.sums, step, sample, neuron);
  }

  activation(step, sample, neuron) {
    const z = this.sum(step, sample, neuron);
    return this.isOutput(neuron) ? z : Math.max(z, 0);
  }

  /** dC/da of a neuron's activation. */
  derivative(step, sample, neuron) {
    return this._entry(this.derivatives, step, sample, neuron);
  }

  /** da/dz */
  slope(step, sample, neuron) {
    return this.isOutput(neuron) || this.sum(step, sample, neuron) > 0 ? 1 : 0;
  }

  /** The factor of a neuron's weight, which is dz/dw. */
  input(step, sample, neuron, input) {
    if (input === this.fanIn(neuron)) return 1;
    if (this.isOutput(neuron)) return this.activation(step, sample, input);
    return this.rows[this.row(step, sample)][input];
  }

  /** The three factors of the chain rule, and their product: this sample's part of dC/dw. */
  shares(step, sample, neuron, input) {
    const cost = this.derivative(step, sample, neuron);
    const slope = this.slope(step, sample, neuron);
    const factor = this.input(step, sample, neuron, input);
    return { cost, slope, factor, product: cost * slope * factor };
  }

  target(step, sample) {
    return this.targets[this.row(step, sample)];
  }

  /** The most active hidden neuron, chosen initially. */
  liveliest(step, sample) {
    const values = Array.from({ length: this.hidden }, (_, i) => this.activation(step, sample, i));
    return values.indexOf(Math.max(...values));
  }

  /** The darkest pixel, or the first coordinate. */
  darkest(step, sample) {
    const x = this.rows[this.row(step, sample)];
    return this.classes ? x.indexOf(Math.max(...x)) : 0;
  }

  /** The loss of one row: a squared error, or the cross-entropy. */
  loss(step, sample) {
    const target = this.target(step, sample);
    if (this.classes) return -Math.log(this.probabilities(step, sample)[target]);
    return (this.activation(step, sample, this.hidden) - target) ** 2;
  }

  /** Activations of all neurons for an input, with the current weights, for drawing. */
  evaluate(weights, x) {
    const result = new Float64Array(this.neurons);
    for (let neuron = 0; neuron < this.neurons; neuron++) {
      const output = this.isOutput(neuron);
      const count = this.fanIn(neuron);
      let z = weights[this.place(neuron, count)];
      for (let i = 0; i < count; i++) z += weights[this.place(neuron, i)] * (output ? result[i] : x[i]);
      result[neuron] = output ? z : Math.max(z, 0);
    }
    return result;
  }

  /** Probabilities of the classes: the softmax of the outputs. */
  probabilities(step, sample) {
    const logits = [];
    for (let i = this.hidden; i < this.neurons; i++) logits.push(this.activation(step, sample, i));
    const top = Math.max(...logits);
    const powers = logits.map((z) => Math.exp(z - top));
    const total = powers.reduce((a, b) => a + b);
    return powers.map((each) => each / total);
  }
}

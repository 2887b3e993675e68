// The network of the digits: an image, hidden neurons with images of their weights, ten outputs.
"use strict";

class DigitsNetwork extends Network {
  thickness = 3;
  labeled = false;

  constructor(...given) {
    super(...given);
    const { run } = this;
    this.strongest = 0.7 * most(run.weights(run.steps).slice(0, run.inputs * run.hidden));
  }

  columns() {
    const height = 46 * this.run.outputs + 8;
    this.pixel = this.narrow ? 9 : 14;
    this.half = this.narrow ? 16 : 20; // half the size of a hidden neuron's image
    return {
      height,
      foot: 0,
      inputs: [{ x: this.narrow ? 44 : 70, y: height / 2 }],
      hidden: this.width * (this.narrow ? 0.42 : 0.47),
      outputs: this.width - (this.narrow ? 84 : 120),
    };
  }

  margins(output) {
    return output ? [this.half, 13] : [4 * this.pixel, this.half];
  }

  /** A line from the image stands for 64 weights. */
  weightOf({ neuron, input }) {
    return this.run.isOutput(neuron) ? input : null;
  }

  edgeValue({ neuron, input }, { step, sample, phase }, array) {
    const { run } = this;
    if (run.isOutput(neuron)) return array[run.place(neuron, input)];
    if (phase !== 2) return run.activation(step, sample, neuron);
    return run.derivative(step, sample, neuron) * run.slope(step, sample, neuron);
  }

  makeInput(group) {
    const corner = -4 * this.pixel;
    const image = picture(this.pixel, { transform: `translate(${corner} ${corner})` });
    image.addEventListener("click", (event) => {
      const square = event.target.closest("[data-pixel]");
      if (square) this.choose(null, Number(square.dataset.pixel));
    });
    group.append(image);
    return { image };
  }

  fillInput({ image }, i, { step, sample, neuron, input }) {
    const pixel = this.run.isOutput(neuron) || input > 63 ? null : input;
    paint(image, this.run.rows[this.run.row(step, sample)], 1, pixel, true);
  }

  makeNeuron(group, neuron) {
    return this.run.isOutput(neuron) ? this._makeOutput(group, neuron) : this._makeHidden(group);
  }

  _makeHidden(group) {
    const { half } = this;
    const square = (side) => ({ x: -side, y: -side, width: 2 * side, height: 2 * side });
    const body = svg("rect", { ...square(half), class: "body" });
    const image = picture(half / 4, { transform: `translate(${-half} ${-half})` });
    const value = svg("text", { x: half + 7, y: 8 - half, class: "side" });
    group.append(svg("rect", { ...square(half + 4), rx: 8, class: "halo" }), body, image, value);
    return { body, value, image };
  }

  _makeOutput(group, neuron) {
    const right = this.width - this.places[neuron].x;
    const room = right - 18 - (this.narrow ? 36 : 44);
    const at = { x: 18, y: -5, height: 10, rx: 3 };
    const body = svg("circle", { r: 13, class: "body" });
    const bar = svg("rect", { ...at, class: "bar" });
    const value = svg("text", { x: right - 4, y: 4, class: "end" });
    group.append(
      svg("rect", { x: -17, y: -17, width: right + 15, height: 34, rx: 8, class: "halo" }),
      svg("rect", { ...at, width: room, class: "track" }), bar, body,
      svg("text", { y: 5, class: "name" }, String(neuron - this.run.hidden)), value);
    return { body, value, bar, room };
  }

  fillNeuron(parts, neuron, state, weights) {
    const { run } = this;
    if (run.isOutput(neuron)) {
      const label = neuron - run.hidden;
      const share = run.probabilities(state.step, state.sample)[label];
      parts.group.classList.toggle("wanted", run.target(state.step, state.sample) === label);
      set(parts.bar, { width: (parts.room * share).toFixed(1) });
      if (state.phase !== 2) parts.value.textContent = percent(share);
      return;
    }
    const own = Array.from({ length: 64 }, (_, pixel) => weights[run.place(neuron, pixel)]);
    const pixel = neuron === state.neuron && state.input < 64 ? state.input : null;
    paint(parts.image, own, this.strongest, pixel);
  }
}

// A drawing of the network, whose neurons can be chosen. network_points.js and network_digits.js have
// the differences between points and digits.
"use strict";

class Network {
  /** Draw into `place`; a click calls `choose(neuron, input)`, with null for one of them. */
  constructor(place, run, choose) {
    this.place = place;
    this.run = run;
    this.choose = choose;
    this.width = 0;
    this.drawing = svg("svg", { role: "radiogroup" });
    place.replaceChildren(this.drawing);
    this.drawing.addEventListener("keydown", (event) => this._key(event));
  }

  /** Redraw everything if the width has changed. */
  _layOut() {
    const width = Math.max(260, Math.round(this.place.clientWidth));
    if (width === this.width) return;
    this.width = width;
    this.narrow = width < 420;
    const { run } = this;
    const { height, foot, inputs, hidden, outputs } = this.columns();
    set(this.drawing, { viewBox: `0 0 ${width} ${height}`, width, height });
    const column = (x, count) =>
      Array.from({ length: count }, (_, i) => ({ x, y: ((height - foot) * (i + 0.5)) / count }));
    this.inputPlaces = inputs;
    this.places = [...column(hidden, run.hidden), ...column(outputs, run.outputs)];
    this._makeEdges();
    const at = ({ x, y }) => ({ transform: `translate(${Math.round(x)} ${Math.round(y)})` });
    this.inputs = this.inputPlaces.map((place, i) => {
      const group = svg("g", { class: "input", "aria-hidden": "true", ...at(place) });
      return { group, ...this.makeInput(group, i) };
    });
    this.neurons = this.places.map((place, neuron) => {
      const group = svg("g", { class: "neuron", role: "radio", "data-neuron": neuron, ...at(place) });
      group.addEventListener("click", () => this.choose(neuron, null));
      return { group, ...this.makeNeuron(group, neuron) };
    });
    this.labels = svg("g", { "aria-hidden": "true" });
    const groups = [...this.inputs, ...this.neurons].map(({ group }) => group);
    this.drawing.replaceChildren(...this.lines, ...groups, this.labels);
  }

  /** Each edge is a line, and dots that flow along it during a pass. */
  _makeEdges() {
    const { run } = this;
    const lines = svg("g", { class: "edges", "aria-hidden": "true" });
    const flow = svg("g", { class: "flow", "aria-hidden": "true" });
    this.lines = [lines, flow];
    this.edges = [];
    this.places.forEach((end, neuron) => {
      const output = run.isOutput(neuron);
      const starts = output ? this.places.slice(0, run.hidden) : this.inputPlaces;
      const [before, after] = this.margins(output);
      starts.forEach((start, input) => {
        const [from, to] = [start.x + before, end.x - after];
        const middle = (from + to) / 2;
        const d = `M${from} ${start.y}C${middle} ${start.y} ${middle} ${end.y} ${to} ${end.y}`;
        const edge = { neuron, input, line: svg("path", { d }), flow: svg("path", { d }) };
        edge.line.addEventListener("click", () => this.choose(neuron, this.weightOf(edge)));
        this.edges.push(edge);
        lines.append(edge.line);
        flow.append(edge.flow);
      });
    });
  }

  _key(event) {
    if (event.key === " ") event.preventDefault(); // the focused neuron is already chosen
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation();
    const now = this.neurons.findIndex(({ group }) => group === document.activeElement);
    const next = (now + step + this.run.neurons) % this.run.neurons;
    this.choose(next, null);
    this.neurons[next].group.focus();
  }

  /** Show a moment; `name(neuron)` returns a neuron's name. */
  draw(state, name) {
    this._layOut();
    const { run } = this;
    const { step, sample, phase } = state;
    const weights = run.weights(phase === 3 ? step + 1 : step);
    set(this.drawing, { "aria-label": word("network_label"), class: `phase${phase}` });
    this._drawEdges(state, phase === 2 ? run.gradient(step) : weights);
    this.neurons.forEach((parts, neuron) => {
      const [sum, activation] = [run.sum(step, sample, neuron), run.activation(step, sample, neuron)];
      const values = { name: name(neuron), sum: numeral(sum, 3), activation: numeral(activation, 3) };
      const chosen = neuron === state.neuron;
      set(parts.group, {
        "aria-checked": chosen, tabindex: chosen ? 0 : -1, "aria-label": word("neuron_label", values),
      });
      const derivative = run.derivative(step, sample, neuron);
      parts.value.textContent = phase === 2 ? brief(derivative, 3) : brief(activation);
      parts.value.classList.toggle("back", phase === 2);
      parts.body.classList.toggle("on", !run.isOutput(neuron) && activation > 0);
      this.fillNeuron(parts, neuron, state, weights);
    });
    this.inputs.forEach((parts, i) => this.fillInput(parts, i, state));
  }

  _drawEdges(state, array) {
    const { run } = this;
    const values = this.edges.map((edge) => this.edgeValue(edge, state, array));
    const strongest = [false, true].map((output) =>
      most(values.filter((_, i) => run.isOutput(this.edges[i].neuron) === output)));
    const labels = [];
    this.edges.forEach((edge, i) => {
      const strength = Math.abs(values[i]) / (strongest[Number(run.isOutput(edge.neuron))] || 1);
      const mine = edge.neuron === state.neuron;
      const weight = this.weightOf(edge);
      const chosen = mine && (weight === null || weight === state.input);
      const kind = weight === null ? "plain" : sign(values[i]);
      set(edge.line, {
        class: `${kind} ${mine ? "mine" : ""} ${chosen ? "chosen" : ""}`,
        "stroke-width": (0.6 + this.thickness * strength).toFixed(2),
      });
      set(edge.flow, { class: mine ? "mine" : "", "stroke-width": (1 + 2 * strength).toFixed(2) });
      if (mine && this.labeled) labels.push(this._label(edge, values[i], chosen));
    });
    this.labels.replaceChildren(...labels);
  }

  _label({ line, neuron }, value, chosen) {
    const share = this.run.isOutput(neuron) ? 0.42 : 0.6; // few lines cross there
    const { x, y } = line.getPointAtLength(line.getTotalLength() * share);
    return svg("text", { x, y: y + 4, class: `weight ${chosen ? "chosen" : ""}` }, brief(value));
  }
}

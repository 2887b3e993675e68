// The network as a drawing, whose neurons can be chosen.
"use strict";

class Network {
  constructor(place, run, choose) {
    this.place = place;
    this.run = run;
    this.choose = choose;
    this.width = 0;
    const last = run.weights(run.steps).slice(0, run.inputs * run.hidden);
    this.strongest = 0.7 * most(last);
    this.drawing = svg("svg", { role: "radiogroup" });
    place.replaceChildren(this.drawing);
    this.drawing.addEventListener("keydown", (event) => this._key(event));
  }

  /** Lay everything out anew, if the width has changed. */
  layOut() {
    const width = Math.max(260, Math.round(this.place.clientWidth));
    if (width === this.width) return false;
    this.width = width;
    const { run } = this;
    const rows = Math.max(run.hidden, run.outputs);
    this.height = run.classes ? 46 * rows + 8 : 66 * run.hidden + 10;
    set(this.drawing, { viewBox: `0 0 ${width} ${this.height}`, width, height: this.height });
    const narrow = width < 420;
    this.glyph = run.classes ? (narrow ? 32 : 40) : 40;
    const column = (share, side) => Math.round(share * width + side);
    const spread = (count, i) => (this.height * (i + 0.5)) / count;
    this.inputs = run.classes
      ? [{ x: narrow ? 44 : 70, y: this.height / 2 }]
      : Array.from({ length: run.inputs }, (_, i) => ({ x: 26, y: this.height * (i ? 0.68 : 0.32) }));
    const across = run.classes ? (narrow ? 0.42 : 0.47) : 0.5;
    this.places = [];
    for (let i = 0; i < run.hidden; i++) {
      this.places.push({ x: column(across, 0), y: spread(run.hidden, i) - (run.classes ? 0 : 6) });
    }
    const right = run.classes ? width - (narrow ? 84 : 120) : width - 34;
    for (let i = 0; i < run.outputs; i++) this.places.push({ x: right, y: spread(run.outputs, i) });
    this._build(narrow);
    return true;
  }

  _build(narrow) {
    const { run } = this;
    this.edges = [];
    const lines = svg("g", { class: "edges", "aria-hidden": "true" });
    const flow = svg("g", { class: "flow", "aria-hidden": "true" });
    for (let neuron = 0; neuron < run.neurons; neuron++) {
      const output = run.isOutput(neuron);
      const from = output ? this.places.slice(0, run.hidden) : this.inputs;
      from.forEach((start, input) => {
        const path = this._path(start, this.places[neuron], output);
        const edge = { neuron, input, line: svg("path", { d: path }), flow: svg("path", { d: path }) };
        edge.line.addEventListener("click", () => this.choose(neuron, run.classes && !output ? null : input));
        this.edges.push(edge);
        lines.append(edge.line);
        flow.append(edge.flow);
      });
    }
    const captions = svg("g", { class: "captions", "aria-hidden": "true" });
    this.nodes = this.places.map((at, neuron) => this._node(at, neuron, narrow));
    this.inputNodes = this.inputs.map((at, i) => this._input(at, i, narrow));
    this.labels = svg("g", { class: "labels", "aria-hidden": "true" });
    this.drawing.replaceChildren(lines, flow, captions, ...this.inputNodes.map((n) => n.group),
      ...this.nodes.map((n) => n.group), this.labels);
  }

  _path(from, to, output) {
    const half = this.glyph / 2;
    const start = from.x + (output ? half : this.run.classes ? 4 * this._pixel() : 18);
    const end = to.x - (output ? (this.run.classes ? 13 : 24) : half);
    const middle = (start + end) / 2;
    return `M${start} ${from.y}C${middle} ${from.y} ${middle} ${to.y} ${end} ${to.y}`;
  }

  _pixel() {
    return this.width < 420 ? 9 : 14;
  }

  _input(at, i, narrow) {
    const group = svg("g", { class: "input", transform: `translate(${at.x} ${at.y})`, "aria-hidden": "true" });
    if (this.run.classes) {
      const pixel = this._pixel();
      const image = picture(pixel, { transform: `translate(${-4 * pixel} ${-4 * pixel})` });
      const caption = svg("text", { y: 4 * pixel + 18, class: "value" });
      group.append(image, caption);
      image.addEventListener("click", (event) => {
        const square = event.target.closest("[data-pixel]");
        if (square) this.choose(null, Number(square.dataset.pixel));
      });
      return { group, image, caption };
    }
    const value = svg("text", { y: 34, class: "value" });
    group.append(svg("circle", { r: 17 }), svg("text", { y: 5, class: "name" }, `x${"₁₂"[i]}`), value);
    return { group, value };
  }

  _node(at, neuron, narrow) {
    const { run } = this;
    const output = run.isOutput(neuron);
    const group = svg("g", { class: "neuron", role: "radio", transform: `translate(${at.x} ${at.y})` });
    const node = { group };
    const half = this.glyph / 2;
    if (!output) {
      group.append(svg("rect", { x: -half - 4, y: -half - 4, width: 2 * half + 8, height: 2 * half + 8, rx: 8, class: "halo" }));
      group.append(svg("rect", { x: -half, y: -half, width: 2 * half, height: 2 * half, rx: 4, class: "body" }));
      if (run.classes) {
        const at8 = `translate(${-half} ${-half})`;
        node.image = picture(this.glyph / 8, { transform: at8 });
        group.append(node.image);
      } else {
        node.active = svg("polygon", { class: "active" });
        node.dot = svg("circle", { r: 3, class: "dot" });
        group.append(node.active, node.dot);
      }
      node.value = run.classes
        ? svg("text", { x: half + 7, y: -half + 8, class: "value side" })
        : svg("text", { y: half + 17, class: "value" });
    } else if (run.classes) {
      const room = this.width - at.x - 18 - (narrow ? 36 : 44);
      node.room = room;
      node.track = svg("rect", { x: 18, y: -5, width: room, height: 10, rx: 3, class: "track" });
      node.bar = svg("rect", { x: 18, y: -5, height: 10, rx: 3, class: "bar" });
      group.append(svg("rect", { x: -17, y: -17, width: this.width - at.x + 16, height: 34, rx: 8, class: "halo" }));
      group.append(node.track, node.bar, svg("circle", { r: 13, class: "body" }));
      group.append(svg("text", { y: 5, class: "name" }, String(neuron - run.hidden)));
      node.value = svg("text", { x: this.width - at.x - 2, y: 4, class: "value end" });
    } else {
      group.append(svg("circle", { r: 28, class: "halo" }), svg("circle", { r: 23, class: "body" }));
      group.append(svg("text", { y: 5, class: "name" }, "p"));
      node.value = svg("text", { y: 46, class: "value" });
      node.target = svg("text", { y: -36, class: "value" });
      group.append(node.target);
    }
    group.append(node.value);
    group.addEventListener("click", () => this.choose(neuron, null));
    return node;
  }

  _key(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (event.key === " ") event.preventDefault(); // what has focus is chosen already
    if (!step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation();
    const now = this.nodes.findIndex((node) => node.group === document.activeElement);
    const next = (now + step + this.run.neurons) % this.run.neurons;
    this.choose(next, null);
    this.nodes[next].group.focus();
  }

  draw(state, name) {
    this.layOut();
    const { run } = this;
    const { step, sample, phase } = state;
    const weights = run.weights(phase === 3 ? step + 1 : step);
    const gradient = run.gradient(step);
    set(this.drawing, { "aria-label": word("network_label"), class: `phase${phase}` });
    this._drawEdges(state, weights, gradient);
    this.nodes.forEach((node, neuron) => {
      const z = run.sum(step, sample, neuron);
      const a = run.activation(step, sample, neuron);
      const chosen = neuron === state.neuron;
      set(node.group, {
        "aria-checked": chosen, tabindex: chosen ? 0 : -1, "data-neuron": neuron,
        "aria-label": word("neuron_label", { name: name(neuron), sum: numeral(z, 3), activation: numeral(a, 3) }),
      });
      this._fill(node, neuron, state, weights, a);
    });
    const x = run.rows[run.row(step, sample)];
    if (run.classes) {
      const pixel = run.isOutput(state.neuron) || state.input > 63 ? null : state.input;
      paint(this.inputNodes[0].image, x, 1, pixel, true);
    } else {
      this.inputNodes.forEach((node, i) => { node.value.textContent = brief(x[i]); });
    }
  }

  _drawEdges(state, weights, gradient) {
    const { run } = this;
    const backward = state.phase === 2;
    const pixels = (edge) => run.classes && !run.isOutput(edge.neuron);
    const shownOf = (edge) => {
      const array = backward ? gradient : weights;
      if (!pixels(edge)) return array[run.place(edge.neuron, edge.input)];
      const a = run.activation(state.step, state.sample, edge.neuron); // one line for 64 weights
      return backward ? run.derivative(state.step, state.sample, edge.neuron) * run.slope(state.step, state.sample, edge.neuron) : a;
    };
    const values = this.edges.map(shownOf);
    const tops = [false, true].map((output) => most(values.filter((_, i) => run.isOutput(this.edges[i].neuron) === output)));
    const labels = [];
    this.edges.forEach((edge, i) => {
      const output = run.isOutput(edge.neuron);
      const strength = Math.abs(values[i]) / (tops[Number(output)] || 1);
      const mine = edge.neuron === state.neuron;
      const chosen = mine && (edge.input === state.input || pixels(edge));
      const kind = [pixels(edge) ? "plain" : sign(values[i]), mine ? "mine" : "", chosen ? "chosen" : ""].join(" ");
      set(edge.line, { class: kind, "stroke-width": (0.6 + (run.classes ? 3 : 5.4) * strength).toFixed(2) });
      set(edge.flow, { class: mine ? "mine" : "", "stroke-width": (1 + 2 * strength).toFixed(2) });
      if (mine && !pixels(edge) && !run.classes) labels.push(this._label(edge, values[i], chosen));
    });
    this.labels.replaceChildren(...labels);
  }

  _label(edge, value, chosen) {
    const along = pointAlong(edge.line, this.run.isOutput(edge.neuron) ? 0.42 : 0.6);
    return svg("text", { x: along.x, y: along.y + 4, class: `weight ${chosen ? "chosen" : ""}` }, brief(value));
  }

  _fill(node, neuron, state, weights, a) {
    const { run } = this;
    const { step, sample, phase } = state;
    const derivative = run.derivative(step, sample, neuron);
    node.value.textContent = phase === 2 ? brief(derivative, 3) : brief(a);
    set(node.value, { class: node.value.getAttribute("class").replace(/ ?back/, "") + (phase === 2 ? " back" : "") });
    if (!run.isOutput(neuron)) {
      set(node.group.querySelector(".body"), { class: a > 0 ? "body on" : "body" });
      if (run.classes) {
        const own = Array.from({ length: 64 }, (_, i) => weights[run.place(neuron, i)]);
        const pixel = neuron === state.neuron && state.input < 64 ? state.input : null;
        paint(node.image, own, this.strongest, pixel);
      } else {
        const half = this.glyph / 2;
        const outgoing = weights[run.place(run.hidden, neuron)];
        set(node.active, { points: halfPlane(run, weights, neuron, half), class: `active ${sign(outgoing)}` });
        const [x, y] = run.rows[run.row(step, sample)];
        set(node.dot, { cx: (x / EXTENT) * half, cy: (-y / EXTENT) * half });
      }
    } else if (run.classes) {
      const share = run.probabilities(step, sample)[neuron - run.hidden];
      set(node.bar, { width: (node.room * share).toFixed(1), class: run.target(step, sample) === neuron - run.hidden ? "bar right" : "bar" });
      set(node.group, { class: run.target(step, sample) === neuron - run.hidden ? "neuron wanted" : "neuron" });
      if (phase !== 2) node.value.textContent = percent(share);
    } else {
      set(node.group.querySelector(".body"), { class: `body ${sign(a)}` });
      node.target.textContent = phase === 0 ? "" : `y = ${numeral(run.target(step, sample))}`;
    }
  }
}

/** Return the point of a path at this share of its length. */
function pointAlong(path, share) {
  return path.getPointAtLength(path.getTotalLength() * share);
}

/** Return the part of a square where a hidden neuron is active, as the points of a polygon. */
function halfPlane(run, weights, unit, half) {
  const [a, b, c] = [0, 1, 2].map((input) => weights[run.place(unit, input)]);
  const corners = [[-2, 2], [2, 2], [2, -2], [-2, -2]];
  const result = [];
  corners.forEach(([x, y], i) => {
    const [x1, y1] = corners[(i + 1) % 4];
    const from = a * x + b * y + c;
    const to = a * x1 + b * y1 + c;
    if (from > 0) result.push([x, y]);
    if (from > 0 !== to > 0) {
      const share = from / (from - to);
      result.push([x + share * (x1 - x), y + share * (y1 - y)]);
    }
  });
  return result.map(([x, y]) => `${((x / 2) * half).toFixed(1)},${((-y / 2) * half).toFixed(1)}`).join(" ");
}

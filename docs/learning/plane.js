// The plane: colors, decision boundary, lines of the hidden neurons, and points.
"use strict";

const EXTENT = 2; // the plane extends from −2 to 2 in both directions
const CELLS = 64;
const SIZE = 400;
const toX = (x) => ((x + EXTENT) / (2 * EXTENT)) * SIZE;
const toY = (y) => ((EXTENT - y) / (2 * EXTENT)) * SIZE;

class Plane {
  constructor(place, chooseSample) {
    this.canvas = html("canvas", { width: CELLS + 1, height: CELLS + 1, "aria-hidden": "true" });
    this.drawing = svg("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img" });
    this.folds = svg("g", { class: "folds" });
    this.boundary = svg("path", { class: "boundary" });
    this.points = svg("g", { class: "points" });
    this.drawing.append(this.folds, this.boundary, this.points);
    place.replaceChildren(this.canvas, this.drawing);
    this.points.addEventListener("click", (event) => {
      const sample = event.target.closest("[data-sample]");
      if (sample) chooseSample(Number(sample.dataset.sample));
    });
  }

  /** Draw for these weights; an animation interpolates between two steps. */
  draw(run, weights, state) {
    const neuron = state.color === "neuron" ? state.neuron : run.hidden;
    const outputs = [];
    const shades = [];
    for (let row = 0; row <= CELLS; row++) {
      for (let column = 0; column <= CELLS; column++) {
        const x = [(2 * column / CELLS - 1) * EXTENT, (1 - 2 * row / CELLS) * EXTENT];
        const values = run.evaluate(weights, x);
        outputs.push(values[run.hidden]);
        shades.push(values[neuron]);
      }
    }
    this._color(shades);
    set(this.boundary, { d: contour(outputs) });
    this.folds.replaceChildren(...Array.from({ length: run.hidden }, (_, unit) => {
      const line = fold(run, weights, unit);
      return svg("path", { d: line, class: unit === state.neuron ? "chosen" : "" });
    }));
  }

  _color(values) {
    const style = getComputedStyle(document.documentElement);
    const channels = (name) => style.getPropertyValue(name).match(/[\da-f]{2}/gi).map((c) => parseInt(c, 16));
    const [blue, orange, card] = ["--blue-plane", "--orange-plane", "--card"].map(channels);
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(CELLS + 1, CELLS + 1);
    values.forEach((value, i) => {
      const strength = value === 0 ? 0 : 0.15 + 0.75 * Math.min(1, Math.abs(value));
      const full = value > 0 ? blue : orange;
      const color = card.map((c, k) => c + strength * (full[k] - c));
      image.data.set([...color, 255], 4 * i);
    });
    context.putImageData(image, 0, 0);
  }

  /** Show the points: those of the batch with a ring, whose size is the error in "loss". */
  mark(run, state) {
    const inBatch = new Map();
    for (let i = 0; i < run.kept; i++) inBatch.set(run.row(state.step, i), i);
    const parts = [[], [], []]; // behind, in front, chosen
    run.rows.forEach(([x, y], row) => {
      const sample = inBatch.get(row);
      const chosen = sample === state.sample;
      const at = { transform: `translate(${toX(x).toFixed(1)} ${toY(y).toFixed(1)})` };
      const ring = sample === undefined ? null : svg("circle", { r: this._ring(run, state, sample), class: "ring" });
      const size = chosen ? 6.5 : 4.5;
      const mark = run.targets[row] > 0
        ? svg("circle", { r: size, class: "positive" })
        : svg("rect", { x: -size, y: -size, width: 2 * size, height: 2 * size, class: "negative" });
      const number = chosen ? svg("text", { y: -16, class: "name" }, String(sample + 1)) : null;
      const kind = chosen ? "chosen" : sample === undefined ? "" : "batch";
      const target = sample === undefined ? null : svg("circle", { r: 14, class: "target" });
      parts[chosen ? 2 : sample === undefined ? 0 : 1].push(
        svg("g", { ...at, class: kind, "data-sample": sample ?? null }, target, ring, mark, number));
    });
    this.points.replaceChildren(...parts.flat());
  }

  _ring(run, state, sample) {
    if (state.phase === 0) return 9;
    const error = run.activation(state.step, sample, run.hidden) - run.target(state.step, sample);
    return (7 + 6 * Math.min(2.5, Math.abs(error))).toFixed(1);
  }

  label(text) {
    set(this.drawing, { "aria-label": text });
  }
}

/** Return the line where a hidden neuron's sum is 0, as a path. */
function fold(run, weights, unit) {
  const [a, b, c] = [0, 1, 2].map((input) => weights[run.place(unit, input)]);
  const length = Math.hypot(a, b);
  if (length < 1e-9) return "";
  const [x, y] = [(-c * a) / length ** 2, (-c * b) / length ** 2]; // the line's point nearest to 0
  const [along, up] = [(-b / length) * 4 * EXTENT, (a / length) * 4 * EXTENT];
  return `M${toX(x - along).toFixed(1)} ${toY(y - up).toFixed(1)}L${toX(x + along).toFixed(1)} ${toY(y + up).toFixed(1)}`;
}

/** Return the curve where values on the grid are 0, by marching squares. */
function contour(values) {
  const cell = SIZE / CELLS;
  const path = [];
  const at = (row, column) => values[row * (CELLS + 1) + column];
  for (let row = 0; row < CELLS; row++) {
    for (let column = 0; column < CELLS; column++) {
      const signs = [at(row, column), at(row, column + 1), at(row + 1, column), at(row + 1, column + 1)];
      if (signs.every((value) => value > 0) || !signs.some((value) => value > 0)) continue;
      const corners = [[0, 0], [0, 1], [1, 1], [1, 0]].map(([down, right]) => ({
        x: (column + right) * cell, y: (row + down) * cell, value: at(row + down, column + right),
      }));
      const crossings = [];
      corners.forEach((from, i) => {
        const to = corners[(i + 1) % 4];
        if (from.value > 0 === to.value > 0) return;
        const share = from.value / (from.value - to.value);
        crossings.push(`${(from.x + share * (to.x - from.x)).toFixed(1)} ${(from.y + share * (to.y - from.y)).toFixed(1)}`);
      });
      for (let i = 0; i + 1 < crossings.length; i += 2) path.push(`M${crossings[i]}L${crossings[i + 1]}`);
    }
  }
  return path.join("");
}

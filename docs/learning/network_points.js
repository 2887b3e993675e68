// The network of the points: two inputs, hidden neurons with their part of the plane, one output.
"use strict";

class PointsNetwork extends Network {
  thickness = 5.4;
  labeled = true;

  columns() {
    const foot = 14; // for the text under the last neuron
    const height = 66 * this.run.hidden + foot;
    const inputs = [0.32, 0.68].map((share) => ({ x: 26, y: height * share }));
    return { height, foot, inputs, hidden: this.width / 2, outputs: this.width - 34 };
  }

  margins(output) {
    return output ? [20, 24] : [18, 20];
  }

  weightOf(edge) {
    return edge.input;
  }

  edgeValue({ neuron, input }, state, array) {
    return array[this.run.place(neuron, input)];
  }

  makeInput(group, i) {
    const value = svg("text", { y: 34 });
    group.append(svg("circle", { r: 17 }), svg("text", { y: 5, class: "name" }, `x${"₁₂"[i]}`), value);
    return { value };
  }

  fillInput({ value }, i, { step, sample }) {
    value.textContent = brief(this.run.rows[this.run.row(step, sample)][i]);
  }

  makeNeuron(group, neuron) {
    if (this.run.isOutput(neuron)) {
      const body = svg("circle", { r: 23, class: "body" });
      const value = svg("text", { y: 46 });
      const target = svg("text", { y: -36 });
      const name = svg("text", { y: 5, class: "name" }, "p");
      group.append(svg("circle", { r: 28, class: "halo" }), body, name, target, value);
      return { body, value, target };
    }
    const body = svg("rect", { x: -20, y: -20, width: 40, height: 40, rx: 4, class: "body" });
    const active = svg("polygon");
    const dot = svg("circle", { r: 3, class: "dot" });
    const value = svg("text", { y: 37 });
    const halo = svg("rect", { x: -24, y: -24, width: 48, height: 48, rx: 8, class: "halo" });
    group.append(halo, body, active, dot, value);
    return { body, value, active, dot };
  }

  fillNeuron(parts, neuron, { step, sample, phase }, weights) {
    const { run } = this;
    if (run.isOutput(neuron)) {
      set(parts.body, { class: `body ${sign(run.activation(step, sample, neuron))}` });
      parts.target.textContent = phase === 0 ? "" : `y = ${numeral(run.target(step, sample))}`;
      return;
    }
    const scale = 20 / EXTENT;
    const corners = halfPlane(run, weights, neuron).map(([x, y]) => `${x * scale},${-y * scale}`);
    const outgoing = weights[run.place(run.hidden, neuron)];
    set(parts.active, { points: corners.join(" "), class: `active ${sign(outgoing)}` });
    const [x, y] = run.rows[run.row(step, sample)];
    set(parts.dot, { cx: x * scale, cy: -y * scale });
  }
}

/** Return the corners of the part of the plane where a hidden neuron is active. */
function halfPlane(run, weights, unit) {
  const [a, b, c] = [0, 1, 2].map((input) => weights[run.place(unit, input)]);
  const corners = [[-EXTENT, EXTENT], [EXTENT, EXTENT], [EXTENT, -EXTENT], [-EXTENT, -EXTENT]];
  const result = [];
  corners.forEach(([x, y], i) => {
    const [nextX, nextY] = corners[(i + 1) % 4];
    const from = a * x + b * y + c;
    const to = a * nextX + b * nextY + c;
    if (from > 0) result.push([x, y]);
    if (from > 0 !== to > 0) {
      const share = from / (from - to);
      result.push([x + share * (nextX - x), y + share * (nextY - y)]);
    }
  });
  return result;
}

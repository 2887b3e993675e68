// The chosen neuron in numbers: sum and activation, three factors of the chain rule, new weight.
"use strict";

const SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉";
const subscript = (number) => [...String(number)].map((digit) => SUBSCRIPTS[digit]).join("");

/** Return the name of a neuron's input. */
function inputName(run, neuron, input) {
  if (input === run.fanIn(neuron)) return word("bias");
  if (run.isOutput(neuron)) return `a${subscript(input + 1)}`;
  if (!run.classes) return `x${subscript(input + 1)}`;
  return word("pixel_short", place8(input));
}

const place8 = (pixel) => ({ row: Math.floor(pixel / 8) + 1, column: (pixel % 8) + 1 });

function weightName(run, neuron, input) {
  if (input === run.fanIn(neuron)) return word("bias");
  if (run.classes && !run.isOutput(neuron)) return word("weight_pixel", place8(input));
  return word("weight_of", { index: subscript(input + 1), input: inputName(run, neuron, input) });
}

/** Return the name of a neuron; `form` is "_in" within a sentence. */
function neuronName(run, neuron, form = "") {
  if (!run.isOutput(neuron)) return word(`hidden_neuron${form}`, { number: neuron + 1 });
  if (!run.classes) return word(`output_neuron${form}`);
  return word(`output_digit${form}`, { number: neuron - run.hidden });
}

/** Return a drawing of the activation function, with a dot at the neuron's sum. */
function curveOf(z, linear) {
  const reach = Math.max(2, Math.abs(z) * 1.2);
  const [x, y] = [(value) => (30 * value) / reach, (value) => (-20 * value) / reach];
  const a = linear ? z : Math.max(z, 0);
  const start = linear ? `M${x(-reach)} ${y(-reach)}` : `M${x(-reach)} 0L0 0`;
  return svg("svg", { viewBox: "-34 -24 68 48", "aria-hidden": "true" },
    svg("path", { d: "M-32 0H32M0 22V-22", class: "axis" }),
    svg("path", { d: `${start}L${x(reach)} ${y(reach)}`, class: "function" }),
    svg("path", { d: `M${x(z)} 0V${y(a)}`, class: "drop" }),
    svg("circle", { cx: x(z), cy: y(a), r: 3.2, class: "dot" }));
}

class Inside {
  constructor(chooseInput) {
    this.chooseInput = chooseInput;
    byId("forward").addEventListener("click", (event) => {
      const at = event.target.closest("[data-input], [data-pixel]");
      if (at) chooseInput(Number(at.dataset.input ?? at.dataset.pixel));
    });
  }

  draw(run, state) {
    const { neuron, phase } = state;
    byId("neuron_title").textContent = word("inside", { name: neuronName(run, neuron) });
    ["part_forward", "part_loss", "part_backward", "part_update"].forEach((id, i) => {
      byId(id).classList.toggle("now", phase === i);
    });
    this._options(run, state);
    byId("forward").replaceChildren(...this._forward(run, state));
    byId("loss").replaceChildren(...this._loss(run, state));
    byId("shares").replaceChildren(...this._shares(run, state));
    byId("batch").replaceChildren(...this._batch(run, state));
    byId("update").replaceChildren(...this._update(run, state));
  }

  _options(run, state) {
    const select = byId("weight");
    const key = `${language} ${run.classes} ${state.neuron}`;
    if (select.dataset.key !== key) {
      const count = run.fanIn(state.neuron) + 1;
      select.replaceChildren(...Array.from({ length: count }, (_, input) =>
        html("option", { value: input }, weightName(run, state.neuron, input))));
      select.dataset.key = key;
    }
    select.value = String(state.input);
  }

  _forward(run, state) {
    const { step, sample, neuron } = state;
    const weights = run.weights(step);
    const count = run.fanIn(neuron);
    const many = count > 8;
    const terms = Array.from({ length: count + 1 }, (_, input) => {
      const x = run.input(step, sample, neuron, input);
      const w = weights[run.place(neuron, input)];
      return { input, x, w, product: x * w };
    });
    const listed = many ? terms.filter(({ input }) => input === state.input || input === count) : terms;
    const rows = listed.map((term) => this._term(run, state, term));
    if (many) {
      const rest = terms.filter((term) => !listed.includes(term));
      const sum = rest.reduce((total, { product }) => total + product, 0);
      rows.splice(-1, 0, html("tr", {}, html("th", { scope: "row", colspan: 3 },
        word("others", { count: rest.length })), html("td", {}, shown(sum))));
    }
    const z = run.sum(step, sample, neuron);
    const a = run.activation(step, sample, neuron);
    const heads = ["input", "input", "weight_column", "product"].map((name, i) =>
      html("th", { scope: "col" }, i === 0 ? html("span", { class: "hidden" }, word(name)) : `${["", "x", "· w", "="][i]}`));
    const table = html("table", { class: "terms" },
      html("thead", {}, html("tr", {}, ...heads)),
      html("tbody", {}, ...rows),
      html("tfoot", {}, html("tr", { class: "total" }, html("th", { scope: "row", colspan: 3 }, word("sum")), html("td", {}, shown(z, { id: "sum" })))));
    const rule = run.isOutput(neuron) ? "linear" : z > 0 ? "relu_on" : "relu_off";
    const f = run.isOutput(neuron) ? "z" : "max(z, 0)";
    const activation = html("div", { class: "activation" }, curveOf(z, run.isOutput(neuron)),
      html("p", {}, html("span", {}, word("activation"), ` = ${f} = `), shown(a, { id: "activation" }),
        html("small", {}, word(rule))));
    return many ? [this._pictures(terms, state), table, activation] : [table, activation];
  }

  _term(run, state, { input, x, w, product }) {
    const { neuron } = state;
    const bias = input === run.fanIn(neuron);
    return html("tr", { "data-input": input, class: input === state.input ? "chosen" : null },
      html("th", { scope: "row" }, inputName(run, neuron, input)),
      html("td", {}, bias ? "" : shown(x, { "data-what": "input" })),
      html("td", {}, bias ? "" : shown(w, { "data-what": "weight" })),
      html("td", {}, shown(product, { "data-what": "product" })));
  }

  /** Input × weight = product as three images of 8 x 8. */
  _pictures(terms, state) {
    const pixels = terms.slice(0, 64);
    const chosen = state.input < 64 ? state.input : null;
    const parts = [[pixels.map(({ x }) => x), true], [pixels.map(({ w }) => w), false], [pixels.map(({ product }) => product), false]];
    const signs = ["×", "="];
    const drawn = parts.flatMap(([values, ink], i) => {
      const group = picture(10);
      paint(group, values, ink ? 1 : most(parts[1][0]), chosen, ink);
      const drawing = svg("svg", { viewBox: "-1 -1 82 82" }, group);
      return i < 2 ? [drawing, html("span", {}, signs[i])] : [drawing];
    });
    return html("div", { class: "pictures", role: "img", "aria-label": word("times") }, ...drawn);
  }

  /** The loss of the chosen row, and the mean of the batch. */
  _loss(run, state) {
    const { step, sample, phase } = state;
    const known = phase >= 1;
    const target = run.target(step, sample);
    const line = (text, value, id) => html("div", {}, html("dt", {}, text),
      html("dd", {}, known ? shown(value, { id }) : unknown()));
    const first = run.classes
      ? line(word("probability", { label: target }), run.probabilities(step, sample)[target], "probability")
      : line(word("prediction"), run.activation(step, sample, run.hidden), "prediction");
    return [html("dl", { class: "lines" }, first,
      run.classes ? null : html("div", {}, html("dt", {}, word("target")), html("dd", {}, shown(target, { id: "target" }))),
      line(word(run.classes ? "loss_digits" : "loss_points"), run.loss(step, sample), "loss_here"),
      line(word("cost", { rows: run.batch }), run.losses[step], "cost"))];
  }

  _shares(run, state) {
    const { step, sample, neuron, input, phase } = state;
    const known = phase >= 2;
    const shares = run.shares(step, sample, neuron, input);
    const bias = input === run.fanIn(neuron);
    const slopeWord = run.isOutput(neuron) ? "share_slope_linear" : shares.slope ? "share_slope_on" : "share_slope_off";
    const one = (id, name, value, note) => html("div", { class: "share", "data-share": id }, html("dt", {}, name),
      html("dd", {}, known ? shown(value, { id: `share_${id}` }) : unknown(), html("small", {}, note)));
    const what = word(run.classes ? "image" : "point");
    const list = html("dl", { class: "shares" },
      one("cost", "dC/da", shares.cost, word("share_cost")),
      one("slope", "da/dz", shares.slope, word(slopeWord)),
      one("factor", bias ? "dz/db" : "dz/dw", shares.factor, word(bias ? "share_bias" : "share_input")),
      one("product", `= dC/d${bias ? "b" : "w"}`, shares.product, word("share_product", { sample: what })));
    return [list, html("p", { class: "origin" }, ...this._origin(run, state, known))];
  }

  /** Say where dC/da comes from: the loss, or the next layer. */
  _origin(run, state, known) {
    const { step, sample, neuron } = state;
    const rows = run.batch;
    if (run.isOutput(neuron) && run.classes) {
      const wanted = run.target(step, sample) === neuron - run.hidden ? 1 : 0;
      const text = word("from_softmax", { rows, wanted });
      if (!known) return [text];
      const share = run.probabilities(step, sample)[neuron - run.hidden];
      return [`${text} = (${numeral(share)} − ${wanted}) / ${rows}`];
    }
    if (run.isOutput(neuron)) {
      const text = word("from_loss", { rows });
      if (!known) return [text];
      const p = run.activation(step, sample, neuron);
      return [`${text} = 2 (${numeral(p)}${added(-run.target(step, sample))}) / ${rows}`];
    }
    const text = word("from_behind");
    if (!known) return [text];
    const weights = run.weights(step);
    const terms = [];
    for (let output = run.hidden; output < run.neurons; output++) {
      terms.push([run.derivative(step, sample, output), weights[run.place(output, neuron)]]);
    }
    const first = terms.slice(0, 2).map(([d, w]) => `${factor(d)} · ${factor(w)}`).join(" + ");
    return [`${text} = ${first}${terms.length > 2 ? " + …" : ""}`];
  }

  _batch(run, state) {
    const { step, neuron, input, phase } = state;
    const known = phase >= 2;
    const gradient = run.gradient(step)[run.place(neuron, input)];
    const cell = (value, what) => html("td", {}, known ? shown(value, { "data-what": what }) : unknown());
    let sum = 0;
    const rows = Array.from({ length: run.kept }, (_, sample) => {
      const { cost, slope, factor, product } = run.shares(step, sample, neuron, input);
      sum += product;
      return html("tr", { class: sample === state.sample ? "chosen" : null, "data-row": sample },
        html("th", { scope: "row" }, `${word(run.classes ? "image" : "point")} ${sample + 1}`),
        cell(cost, "cost"), cell(slope, "slope"), cell(factor, "factor"), cell(product, "share"));
    });
    if (run.kept < run.batch) {
      rows.push(html("tr", {}, html("th", { scope: "row", colspan: 4 }, word("rest", { count: run.batch - run.kept })), cell(gradient - sum, "rest")));
    }
    const bias = input === run.fanIn(neuron);
    const heads = ["", "dC/da", "· da/dz", bias ? "· dz/db" : "· dz/dw", "="].map((text) =>
      text ? html("th", { scope: "col" }, text) : html("td", {}));
    const caption = run.kept < run.batch ? word("batch_some", { rows: run.batch }) : word("batch");
    return [html("table", { class: "terms" }, html("caption", {}, caption), html("thead", {}, html("tr", {}, ...heads)),
      html("tbody", {}, ...rows),
      html("tfoot", {}, html("tr", { class: "total" },
        html("th", { scope: "row", colspan: 4 }, word("gradient")), html("td", {}, known ? shown(gradient, { id: "gradient" }) : unknown()))))];
  }

  _update(run, state) {
    const { step, neuron, input, phase } = state;
    const place = run.place(neuron, input);
    const [old, next] = [run.weights(step)[place], run.weights(step + 1)[place]];
    const gradient = run.gradient(step)[place];
    const known = phase === 3;
    const part = (text, ...shows) => html("span", { class: "part_of" }, html("small", {}, `${text} `), ...shows);
    const sign = (text) => html("span", { class: "sign" }, ` ${text} `);
    const taken = phase >= 2 ? shown(gradient, { id: "taken" }, 4, factor) : unknown();
    return [
      html("p", { class: "origin" }, word("update_text")),
      html("p", { class: "formula" },
        part(word("weight_column"), shown(old, { id: "old_weight" })), sign("−"),
        part(`${run.rate} · ${word("gradient_short")}`, `${run.rate} · `, taken), sign("="),
        part(word("new_weight"), known ? shown(next, { id: "new_weight" }) : unknown())),
    ];
  }
}

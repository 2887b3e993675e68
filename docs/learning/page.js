// The state of the page, and how it is shown.
"use strict";

const PHASES = ["forward", "loss", "backward", "update"];
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const RUNS = { points: new Run(RECORDING.points), digits: new Run(RECORDING.digits) };

const state = {
  data: "points", step: 0, phase: 0, sample: 0, neuron: 0, input: 0, color: "output", running: false,
};
const run = () => RUNS[state.data];

/** Change something and show it. Missing inputs and neurons are replaced. */
function change(values) {
  Object.assign(state, values);
  const r = run();
  state.step = Math.max(0, Math.min(r.steps - 1, state.step));
  state.neuron = Math.min(state.neuron, r.neurons - 1);
  state.input = Math.min(state.input, r.fanIn(state.neuron));
  draw();
}

const moment = () => 4 * state.step + state.phase;

/** Go to a moment of the training: four to a step. */
function go(to, values = {}) {
  const before = planeWeights();
  const last = 4 * run().steps - 1;
  const at = Math.max(0, Math.min(last, to));
  change({ step: Math.floor(at / 4), phase: at % 4, ...values });
  tween(before);
}

// ------------------------------------------------------------------------------------ drawing

const plane = new Plane(byId("plane"), (sample) => change({ sample }));
const inside = new Inside((input) => change({ input }));
let network = null;
const filters = new Filters(RECORDING.filters, RUNS.digits.tests.slice(0, 10));

const planeWeights = () => run().weights(state.step + (state.phase === 3 ? 1 : 0));

/** Animate the plane from the earlier weights to the current ones. */
function tween(before) {
  const after = planeWeights();
  cancelAnimationFrame(tween.frame);
  if (calm.matches || before.length !== after.length || before === after || state.data !== "points") return;
  if (state.running && byId("speed").value === "fast") return;
  const began = performance.now();
  const frame = (now) => {
    const share = Math.max(0, Math.min(1, (now - began) / 280));
    const eased = share * (2 - share);
    plane.draw(run(), after.map((w, i) => before[i] + eased * (w - before[i])), state);
    if (share < 1) tween.frame = requestAnimationFrame(frame);
  };
  frame(began);
}

function draw() {
  const r = run();
  document.body.dataset.data = state.data;
  for (const each of byId("data").children) set(each, { "aria-pressed": each.value === state.data });
  for (const each of byId("color").children) set(each, { "aria-pressed": each.value === state.color });
  for (const each of byId("phases").querySelectorAll("button")) {
    set(each, { "aria-current": Number(each.value) === state.phase ? "step" : null });
  }
  drawPlayback(r);
  drawCurve(r);
  byId("says").textContent = says(r);
  byId("plane_title").textContent = word(r.classes ? "tests" : "plane");
  byId("plane_note").textContent = word(r.classes ? "tests_note" : "plane_note");
  const kind = r.classes ? "_digits" : "";
  const shows = word(`${state.phase === 2 ? "shows_d" : "shows_a"}${kind}`);
  byId("network_note").textContent = sentences(shows, word(r.classes ? "network_note_digits" : "network_note_points"));
  const about = { sizes: `${r.inputs} – ${r.hidden} – ${r.outputs}`, rows: r.batch, kept: r.kept, rate: r.rate, version: RECORDING.version };
  byId("about").textContent = word(r.classes ? "about_digits" : "about_points", about);
  const ideas = word(r.classes ? "try_digits" : "try_points").split("|");
  byId("try").replaceChildren(...ideas.map((idea) => html("li", {}, idea)));
  drawSamples(r);
  if (r.classes) drawTests(r);
  else drawPlane(r);
  network.draw(state, (neuron) => neuronName(r, neuron));
  inside.draw(r, state);
}

function drawPlayback(r) {
  const slider = byId("step");
  set(slider, { max: r.steps - 1 });
  slider.value = String(state.step);
  const values = { step: state.step + 1, steps: r.steps, phase: word(PHASES[state.phase]) };
  set(slider, { "aria-valuetext": word("step_value", values) });
  byId("where").textContent = word("where", { ...values, epoch: Math.floor(state.step / r.stepsPerEpoch) + 1 });
  const atEnd = moment() === 4 * r.steps - 1;
  const button = byId("run");
  button.classList.toggle("running", state.running);
  button.querySelector("span").textContent = word(state.running ? "pause" : atEnd ? "again" : "run");
  const off = (ids, at) => ids.forEach((id) => set(byId(id), { "aria-disabled": at ? "true" : null }));
  off(["first", "back", "back_phase"], moment() === 0);
  off(["last", "next", "next_phase"], atEnd);
}

function drawCurve(r) {
  const [width, height] = [600, 64];
  const top = Math.max(...r.losses, ...r.totalLosses);
  const x = (i) => (i / (r.steps - 1)) * width;
  const y = (cost) => height - 3 - (cost / top) * (height - 8);
  const name = word(r.classes ? "curve_digits" : "curve_points");
  const cost = numeral(r.losses[state.step]);
  const path = (values) => Array.from({ length: r.steps }, (_, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(values[i]).toFixed(1)}`).join("");
  const drawing = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img",
    "aria-label": word("curve", { name, cost }),
  }, svg("path", { d: path(r.losses), class: "batches" }), svg("path", { d: path(r.totalLosses), class: "total" }),
  svg("path", { d: `M${x(state.step).toFixed(1)} 0V${height}`, class: "here" }));
  byId("curve").replaceChildren(drawing, html("span", { class: "name", "aria-hidden": "true" },
    html("span", {}, `${name}: `), cost));
}

/** How many of all rows are on the correct side, as counted by gpunn. */
const rightRows = (r) => Math.round(r.accuracies[state.step + (state.phase === 3 ? 1 : 0)] * r.rows.length);

function drawPlane(r) {
  plane.draw(r, planeWeights(), state);
  plane.mark(r, state);
  const [x, y] = r.rows[r.row(state.step, state.sample)];
  const values = { all: r.rows.length, right: rightRows(r) };
  byId("score_points").textContent = word("score_points", values);
  plane.label(word("plane_label", {
    ...values, sample: state.sample + 1, x: numeral(x, 2), y: numeral(y, 2),
    target: numeral(r.target(state.step, state.sample)),
  }));
}

function drawTests(r) {
  const place = byId("tests");
  if (!place.children.length) {
    place.append(...r.tests.map((image) => {
      const group = picture(5);
      paint(group, image, 1, null, true);
      return html("div", { class: "test", "aria-hidden": "true" }, svg("svg", { viewBox: "-1 -1 42 42" }, group), html("span"));
    }));
    set(place, { role: "img" });
  }
  const weights = planeWeights();
  const wrong = [];
  r.tests.forEach((image, i) => {
    const values = Array.from(r.evaluate(weights, image).slice(r.hidden));
    const guess = values.indexOf(Math.max(...values));
    const right = guess === r.testTargets[i];
    if (!right) wrong.push(word("test_one", { label: r.testTargets[i], guess }));
    const each = place.children[i];
    set(each, { class: right ? "test right" : "test wrong" });
    each.querySelector("span").textContent = `${guess} ${right ? "✓" : "✗"}`;
  });
  const list = wrong.length ? word("test_wrong", { list: wrong.join(", ") }) : word("test_right");
  set(place, { "aria-label": word("tests_label", { wrong: list }) });
  const share = r.accuracies[state.step + (state.phase === 3 ? 1 : 0)];
  byId("score_digits").textContent = word("score_digits", { share: percent(share) });
}

/** The samples of the batch are radio buttons: created once, then filled with images. */
function drawSamples(r) {
  const place = byId("samples").querySelector("div");
  if (place.dataset.key !== state.data) {
    place.dataset.key = state.data;
    place.replaceChildren(...Array.from({ length: r.kept }, (_, i) => {
      const radio = html("input", { type: "radio", name: "sample", value: i });
      const mark = r.classes
        ? svg("svg", { viewBox: "-1 -1 42 42", "aria-hidden": "true" }, picture(5))
        : svg("svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true", class: "mark" });
      return html("label", {}, radio, mark, html("span"));
    }));
  }
  Array.from(place.children).forEach((label, i) => {
    const target = r.target(state.step, i);
    label.querySelector("input").checked = i === state.sample;
    set(label.querySelector("input"), { "aria-label": `${word(r.classes ? "image" : "point")} ${i + 1}, ${numeral(target)}` });
    label.querySelector("span").textContent = String(i + 1);
    if (r.classes) return paint(label.querySelector("g"), r.rows[r.row(state.step, i)], 1, null, true);
    const shape = target > 0 ? svg("circle", { r: 5.5, class: "positive" })
      : svg("rect", { x: -5, y: -5, width: 10, height: 10, class: "negative" });
    return label.querySelector("svg").replaceChildren(shape);
  });
}

/** Say in one or two sentences what happens in this phase. */
function says(r) {
  const { step, sample, neuron, input, phase } = state;
  const kind = r.classes ? "digits" : "points";
  const name = word(r.classes ? "image" : "point");
  const y = r.target(step, sample);
  const place = r.place(neuron, input);
  const gradient = r.gradient(step)[place];
  const weights = [r.weights(step)[place], r.weights(step + 1)[place]];
  const shares = r.classes ? r.probabilities(step, sample) : [];
  if (phase === 0) {
    const Sample = language === "en" ? name[0].toUpperCase() + name.slice(1) : name;
    const guess = shares.indexOf(Math.max(...shares));
    const end = { p: numeral(r.activation(step, sample, r.hidden)), guess };
    return sentences(word("says_forward", { Sample, number: sample + 1 }), word(`says_forward_end_${kind}`, end));
  }
  if (phase === 1) {
    const values = { y: numeral(y), loss: numeral(r.loss(step, sample)), rows: r.batch, cost: numeral(r.losses[step]), share: percent(shares[y]) };
    return word(`says_loss_${kind}`, values);
  }
  if (phase === 2) {
    const direction = gradient < 0 ? "says_down" : gradient > 0 ? "says_up" : "says_flat";
    return sentences(word("says_backward", { neuron: neuronName(r, neuron, "_in"), gradient: numeral(gradient) }), word(direction));
  }
  const values = { rate: r.rate, old: numeral(weights[0]), new: numeral(weights[1]) };
  return sentences(word("says_update", values), word(`says_update_${kind}`));
}

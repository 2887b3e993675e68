// The controls: buttons, keys, the slider, and the timer.
"use strict";

const PAUSES = { phases: 1600, steps: 320, fast: 60 }; // milliseconds

/** Choose a neuron, an input of one, or both; null leaves it unchanged. */
function choose(neuron, input) {
  const r = run();
  if (neuron === null) {
    if (!r.isOutput(state.neuron)) change({ input });
    return;
  }
  // From a hidden neuron to an output: look at the weight between them.
  const crossing = r.isOutput(neuron) !== r.isOutput(state.neuron);
  const other = r.isOutput(neuron) ? state.neuron : r.darkest(state.step, state.sample);
  change({ neuron, input: input ?? (crossing ? other : state.input) });
}

function chooseData(data) {
  pause();
  const r = RUNS[data];
  network = new (r.classes ? DigitsNetwork : PointsNetwork)(byId("network"), r, choose);
  change({ data, step: 0, phase: 0, sample: 0, neuron: r.liveliest(0, 0), input: r.darkest(0, 0) });
}

function pause() {
  clearTimeout(pause.timer);
  state.running = false;
  set(byId("says"), { "aria-live": "polite" });
}

function play() {
  const last = 4 * run().steps - 1;
  state.running = true;
  set(byId("says"), { "aria-live": "off" }); // otherwise a screen reader would never stop
  if (moment() === last) go(0);
  const tick = () => {
    const whole = byId("speed").value !== "phases";
    go(whole ? 4 * (state.step + (state.phase === 3 ? 1 : 0)) + 3 : moment() + 1);
    if (moment() === last) {
      pause();
      draw();
    } else pause.timer = setTimeout(tick, PAUSES[byId("speed").value]);
  };
  pause.timer = setTimeout(tick, byId("speed").value === "phases" ? 400 : 0);
  draw();
}

function move(to) {
  pause();
  go(to);
}

const MOVES = {
  first: () => 0,
  back: () => moment() - 4,
  back_phase: () => moment() - 1,
  next_phase: () => moment() + 1,
  next: () => moment() + 4,
  last: () => 4 * run().steps - 1,
};
/** Keys of the whole page, except those that scroll it. */
const KEYS = { ArrowLeft: ["back_phase", "back"], ArrowRight: ["next_phase", "next"] };

function toggle() {
  if (state.running) {
    pause();
    draw();
  } else play();
}

for (const [id, to] of Object.entries(MOVES)) byId(id).addEventListener("click", () => move(to()));
byId("run").addEventListener("click", toggle);
byId("step").addEventListener("input", (event) => move(4 * Number(event.target.value) + state.phase));
byId("phases").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) move(4 * state.step + Number(button.value));
});
byId("data").addEventListener("click", (event) => event.target.value && chooseData(event.target.value));
byId("color").addEventListener("click", (event) => event.target.value && change({ color: event.target.value }));
byId("samples").addEventListener("change", (event) => change({ sample: Number(event.target.value) }));
byId("weight").addEventListener("change", (event) => change({ input: Number(event.target.value) }));
byId("language").addEventListener("click", () => speak(word("other_code")));

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select")) return;
  const moves = KEYS[event.key];
  if (!moves) return;
  event.preventDefault();
  move(MOVES[moves[Number(event.shiftKey)]]());
});

/** Link to the documentation's site, if this page is a part of it. */
function linkToSite() {
  const { site } = RECORDING;
  if (!site) return;
  byId("site").hidden = false;
  byId("home").href = `${site}/index.html`;
  for (const link of document.querySelectorAll("[data-section]")) {
    const phase = link.dataset.section;
    link.hidden = false;
    link.href = `${site}/${word("page")}`;
    if (!phase) continue;
    const section = word(`section_${phase}`);
    link.href += `#${section}`;
    link.textContent = word("section", { number: section[0] });
  }
}

function speak(code) {
  language = code;
  putWords();
  linkToSite();
  set(byId("language"), { lang: word("other_code") });
  byId("language").textContent = word("other");
  filters.draw();
  draw();
}

new ResizeObserver(() => draw()).observe(byId("network"));
systemIsDark.addEventListener("change", () => {
  setTheme();
  draw();
});

// The address selects data and language: #digits, #zh, or #zh,digits.
const wished = location.hash.slice(1).split(",");
if (wished.includes("zh")) language = "zh";
putWords();
chooseData(wished.includes("digits") ? "digits" : "points");
speak(language);

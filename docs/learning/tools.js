// Numbers as text, and elements of the page.
"use strict";

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** Return a number as text: four decimals, or three digits and a power of ten if it is small. */
function numeral(value, decimals = 4) {
  if (Number.isInteger(value)) return String(value).replace("-", "−");
  let text = value.toFixed(decimals);
  if (Math.abs(value) < 5 * 10 ** -decimals) {
    const [digits, power] = value.toExponential(2).split("e");
    const raised = [...power.replace("+", "")].map((c) => (c === "-" ? "⁻" : SUPERSCRIPTS[c]));
    text = `${digits}·10${raised.join("")}`;
  }
  return text.replace("-", "−");
}

/** Return a number as text for short labels. */
const brief = (value, decimals = 2) =>
  (value === 0 ? "0" : value.toFixed(decimals)).replace(/^-(0\.0+)$/, "$1").replace("-", "−");

/** Return a number as a factor, in parentheses if it is negative. */
const factor = (value, decimals) =>
  value < 0 ? `(${numeral(value, decimals)})` : numeral(value, decimals);

/** Return " + 0.5" or " − 0.5". */
const added = (value, decimals) =>
  (value < 0 ? " − " : " + ") + numeral(Math.abs(value), decimals);

const percent = (share) => `${(100 * share).toFixed(0)} %`;

const SVG = "http://www.w3.org/2000/svg";

/** Create an element; attributes that are null are left out. */
function make(namespace, name, attributes, children) {
  const element = namespace ? document.createElementNS(SVG, name) : document.createElement(name);
  set(element, attributes);
  element.append(...children.filter((child) => child !== null));
  return element;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

const html = (name, attributes = {}, ...children) => make(false, name, attributes, children);
const svg = (name, attributes = {}, ...children) => make(true, name, attributes, children);
const byId = (id) => document.getElementById(id);

/** Return an element that shows a number and has all its digits in `data-value`. */
function shown(value, attributes = {}, decimals = 4, written = numeral) {
  return html("span", { class: "number", "data-value": value, ...attributes }, written(value, decimals));
}

/** Return the placeholder of a number that is not computed yet. */
const unknown = () => html("span", { class: "unknown" },
  html("span", { "aria-hidden": "true" }, word("unknown")),
  html("span", { class: "hidden" }, word("unknown_label")));

const sign = (value) => (value > 0 ? "positive" : value < 0 ? "negative" : "zero");

/** Return an image of `side` x `side` values as squares of a size. */
function picture(size, attributes = {}, side = 8) {
  const squares = [];
  for (let i = 0; i < side * side; i++) {
    const at = { x: (i % side) * size, y: Math.floor(i / side) * size, width: size, height: size };
    squares.push(svg("rect", { ...at, "data-pixel": i }));
  }
  const frame = { class: "frame", width: side * size, height: side * size };
  return svg("g", { class: "picture", ...attributes }, svg("rect", frame), ...squares,
    svg("rect", { class: "cursor", width: size, height: size, visibility: "hidden" }));
}

/** Color an image: ink for pixels, or blue and orange for signed numbers; `most` is full color. */
function paint(group, values, most, chosen = null, ink = false) {
  const squares = group.querySelectorAll("[data-pixel]");
  squares.forEach((square, i) => {
    const strength = Math.min(1, Math.abs(values[i]) / (most || 1));
    set(square, { class: ink ? "ink" : sign(values[i]), "fill-opacity": strength.toFixed(3) });
  });
  const cursor = group.querySelector(".cursor");
  set(cursor, { visibility: chosen === null ? "hidden" : "visible" });
  if (chosen !== null) {
    const { x, y } = squares[chosen].attributes;
    set(cursor, { x: x.value, y: y.value });
  }
}

const most = (values) => values.reduce((top, value) => Math.max(top, Math.abs(value)), 0);

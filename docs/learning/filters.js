// Filters of a convolution, and their feature maps, during a training.
"use strict";

class Filters {
  constructor(recorded, images) {
    this.weights = numbers(recorded.weights); // (steps + 1, 9, filters)
    this.biases = numbers(recorded.biases);
    this.accuracies = numbers(recorded.accuracies);
    this.steps = this.accuracies.length - 1;
    this.count = this.biases.length / (this.steps + 1);
    this.images = images;
    this.image = 0;
    this.strongest = most(this.weights.slice(-9 * this.count));
    this.slider = byId("filter_step");
    set(this.slider, { max: this.steps });
    this.slider.value = String(this.steps);
    this.slider.addEventListener("input", () => this.draw());
    this._makeSamples();
    this._makeMaps();
  }

  _makeSamples() {
    byId("filter_samples").querySelector("div").append(...this.images.map((image, i) => {
      const radio = html("input", { type: "radio", name: "filter_sample", value: i });
      radio.checked = i === this.image;
      const drawing = picture(5);
      paint(drawing, image, 1, null, true);
      return html("label", {}, radio, svg("svg", { viewBox: "-1 -1 42 42", "aria-hidden": "true" }, drawing));
    }));
    byId("filter_samples").addEventListener("change", (event) => {
      this.image = Number(event.target.value);
      this.draw();
    });
  }

  _makeMaps() {
    this.parts = Array.from({ length: this.count }, () => {
      const filter = picture(8, { transform: "translate(8 0)" }, 3);
      const map = picture(5, { transform: "translate(0 30)" });
      const place = svg("svg", { viewBox: "-1 -1 42 72", role: "img" }, filter, map);
      return { filter, map, place };
    });
    byId("maps").replaceChildren(...this.parts.map(({ place }) => place));
  }

  /** The weights of a filter in its order of pixels. */
  filter(step, number) {
    const first = 9 * this.count * step;
    return Float32Array.from({ length: 9 }, (_, i) => this.weights[first + i * this.count + number]);
  }

  /** ReLU of the convolution of an 8 x 8 image with a filter; zeros surround the image. */
  featureMap(step, number, image) {
    const filter = this.filter(step, number);
    const pixel = (row, column) =>
      row < 0 || row > 7 || column < 0 || column > 7 ? 0 : image[8 * row + column];
    return Float32Array.from({ length: 64 }, (_, place) => {
      const [row, column] = [Math.floor(place / 8), place % 8];
      let z = this.biases[step * this.count + number];
      filter.forEach((w, i) => { z += w * pixel(row + Math.floor(i / 3) - 1, column + (i % 3) - 1); });
      return Math.max(z, 0);
    });
  }

  draw() {
    const step = Number(this.slider.value);
    const values = { step, steps: this.steps, share: percent(this.accuracies[step]) };
    byId("filter_where").textContent = word("filter_where", values);
    set(this.slider, { "aria-valuetext": word("filter_where", values) });
    byId("filter_samples").querySelectorAll("input").forEach((radio, i) =>
      set(radio, { "aria-label": `${word("image")} ${i + 1}` }));
    const maps = this.parts.map((_, number) => this.featureMap(step, number, this.images[this.image]));
    const darkest = Math.max(...maps.map(most));
    this.parts.forEach(({ filter, map, place }, number) => {
      paint(filter, this.filter(step, number), this.strongest);
      paint(map, maps[number], darkest, null, true);
      const value = most(maps[number]);
      set(place, {
        "aria-label": word("filter_label", { number: number + 1, value: numeral(value) }), "data-value": value,
      });
    });
  }
}

"""The page on which a network learns: its recording is correct, and it shows the recording."""

import base64
import dataclasses
import json
import re
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from browser import PHONE, inaccessible, too_wide, visit

import gpunn

ROOT = Path(__file__).parents[2]

LESSONS = ["points", "digits"]


@pytest.fixture(scope="module")
def recorder() -> SimpleNamespace:
    path = ROOT / "scripts" / "docs" / "record_learning.py"
    return SimpleNamespace(**runpy.run_path(str(path), run_name="record_learning"))


@pytest.fixture(scope="module")
def recordings(recorder) -> dict[str, tuple[Any, dict[str, np.ndarray]]]:
    lessons = {name: recorder.LESSONS[name]() for name in LESSONS}
    return {name: (lesson, recorder.record(lesson)) for name, lesson in lessons.items()}


@pytest.fixture(scope="module")
def folder(recorder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "learning"
    shutil.copytree(ROOT / "docs" / "learning", folder)
    (folder / "recording.js").unlink(missing_ok=True)
    recorder.main(folder / "recording.js")
    return folder


def parts(lesson, weights: np.ndarray) -> list[np.ndarray]:
    inputs, hidden, outputs = lesson.X.shape[1], lesson.hidden, lesson.outputs
    shapes = [(inputs, hidden), (hidden,), (hidden, outputs), (outputs,)]
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    assert ends[-1] == len(weights)
    pieces = np.split(weights, ends[:-1])
    return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def forward(lesson, weights: np.ndarray, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of all neurons, layer by layer, and the outputs."""
    W1, b1, W2, b2 = parts(lesson, weights)
    z = X @ W1 + b1
    outputs = np.maximum(z, 0) @ W2 + b2
    return np.hstack([z, outputs]), outputs


def cost(lesson, outputs: np.ndarray, y: np.ndarray) -> float:
    if lesson.outputs == 1:
        return float(np.mean((outputs - y) ** 2))
    shares = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    return float(-np.mean(np.log(shares[np.arange(len(y)), y])))


def batch(lesson, step: int) -> tuple[np.ndarray, np.ndarray]:
    rows = (step * lesson.batch_size + np.arange(lesson.batch_size)) % len(lesson.X)
    return lesson.X[rows], lesson.y[rows]


STEPS = [0, 7, 31, 59]


@pytest.mark.parametrize("name", LESSONS)
def test_gradients_are_the_slopes_of_the_cost(recordings, name):
    """By central differences of a network in plain NumPy, for every eleventh parameter."""
    lesson, arrays = recordings[name]
    h = 1e-6
    for step in STEPS:
        X, y = batch(lesson, step)
        weights = arrays["weights"][step]
        assert cost(lesson, forward(lesson, weights, X)[1], y) == pytest.approx(
            arrays["losses"][step], rel=1e-12
        )
        for index in range(0, len(weights), 11):
            nudge = h * (np.arange(len(weights)) == index)
            above, below = (
                cost(lesson, forward(lesson, weights + each, X)[1], y) for each in (nudge, -nudge)
            )
            slope = (above - below) / (2 * h)
            assert arrays["gradients"][step, index] == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", LESSONS)
def test_sums_and_derivatives_obey_the_chain_rule(recordings, name):
    lesson, arrays = recordings[name]
    hidden, kept = lesson.hidden, lesson.kept
    for step in STEPS:
        X, y = batch(lesson, step)
        weights = arrays["weights"][step]
        sums, outputs = forward(lesson, weights, X)
        np.testing.assert_allclose(arrays["sums"][step], sums[:kept], rtol=1e-12, atol=1e-14)
        # At the outputs by central differences, at the hidden neurons from the next layer.
        derivatives = arrays["derivatives"][step]
        for sample in range(kept):
            for output in range(lesson.outputs):
                costs = []
                for h in (1e-6, -1e-6):
                    moved = outputs.copy()
                    moved[sample, output] += h
                    costs.append(cost(lesson, moved, y))
                slope = (costs[0] - costs[1]) / 2e-6
                assert derivatives[sample, hidden + output] == pytest.approx(slope, abs=1e-8)
        W2 = parts(lesson, weights)[2]
        behind = derivatives[:, hidden:] @ W2.T
        np.testing.assert_allclose(derivatives[:, :hidden], behind, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", LESSONS)
def test_weights_follow_the_negative_gradient_until_the_network_is_good(recordings, name):
    lesson, arrays = recordings[name]
    steps = -lesson.learning_rate * arrays["gradients"]
    np.testing.assert_allclose(np.diff(arrays["weights"], axis=0), steps, atol=1e-14)
    assert arrays["accuracies"][0] < 0.5
    assert arrays["accuracies"][-1] > (0.99 if name == "points" else 0.8)
    for step in (0, 40):
        X, y = lesson.judged
        outputs = forward(lesson, arrays["weights"][step], X)[1]
        assert arrays["total_losses"][step] == pytest.approx(cost(lesson, outputs, y))
        right = np.mean(lesson.right(outputs, y))
        assert arrays["accuracies"][step] == pytest.approx(right)


def decoded(text: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape)


@pytest.mark.parametrize("name", LESSONS)
def test_the_file_contains_the_recording(recorder, recordings, folder, name):
    lesson, arrays = recordings[name]
    text = (folder / "recording.js").read_text(encoding="utf-8")
    held = json.loads(text.removeprefix("const RECORDING = ").removesuffix(";\n"))[name]
    for key in recorder.KEPT:
        expected = arrays[key].astype("float32")
        assert np.array_equal(decoded(held[key], expected.shape), expected), key
    if name == "points":
        assert np.array_equal(decoded(held["inputs"], (96, 2)), lesson.X.astype("float32"))
        assert held["targets"] == lesson.y[:, 0].tolist()
    else:
        pixels = np.frombuffer(held["images"].encode(), "uint8").reshape(-1, 64) - ord("a")
        rows = [32 * number + sample for number in range(30) for sample in range(lesson.kept)]
        assert np.array_equal(pixels / 16, lesson.X[rows])
        assert held["labels"] == lesson.y[rows].tolist()


def test_the_page_is_small(folder):
    assert sum(path.stat().st_size for path in folder.iterdir()) < 500_000


@dataclasses.dataclass(frozen=True)
class Place:
    step: int
    sample: int
    neuron: int
    input: int


PLACES = {
    "points": [Place(0, 0, 2, 0), Place(17, 5, 0, 2), Place(119, 7, 6, 3)],
    "digits": [Place(0, 0, 7, 19), Place(20, 2, 3, 64), Place(59, 5, 17, 7)],
}


def expected(lesson, arrays: dict[str, np.ndarray], at: Place) -> dict[str, float]:
    """Return the numbers that the page must show, from the recorded arrays."""
    hidden = lesson.hidden
    output = at.neuron >= hidden
    z = arrays["sums"][at.step, at.sample]
    X, y = batch(lesson, at.step)
    inputs = [*np.maximum(z[:hidden], 0), 1] if output else [*X[at.sample], 1]
    layer = parts(lesson, np.arange(len(arrays["start"])))[2 * output :]
    unit = at.neuron - hidden if output else at.neuron
    position = int(np.vstack([layer[0], layer[1]])[at.input, unit])
    shares = {
        "share_cost": arrays["derivatives"][at.step, at.sample, at.neuron],
        "share_slope": 1.0 if output else float(z[at.neuron] > 0),
        "share_factor": inputs[at.input],
    }
    outputs = z[hidden:]
    if lesson.outputs == 1:
        seen = {"prediction": outputs[0], "target": y[at.sample, 0]}
        seen["loss_here"] = (outputs[0] - y[at.sample, 0]) ** 2
    else:
        share = np.exp(outputs[y[at.sample]]) / np.exp(outputs).sum()
        seen = {"probability": share, "loss_here": -np.log(share)}
    gradient = arrays["gradients"][at.step, position]
    return {
        "sum": z[at.neuron],
        "activation": z[at.neuron] if output else max(z[at.neuron], 0),
        **seen,
        "cost": arrays["losses"][at.step],
        **shares,
        "share_product": np.prod(list(shares.values())),
        "gradient": gradient,
        "taken": gradient,
        "old_weight": arrays["weights"][at.step, position],
        "new_weight": arrays["weights"][at.step + 1, position],
    }


def numeral(text: str) -> float:
    text = text.strip("()").replace("−", "-")
    raised = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
    return float(re.sub(r"·10([⁻⁰-⁹¹²³]+)", lambda m: f"e{m[1].translate(raised)}", text))


SHOWN = """Object.fromEntries([...document.querySelectorAll("[data-value][id]")].map(
    (each) => [each.id, [Number(each.dataset.value), each.textContent]]))"""


def go_to(page, at: Place) -> None:
    page.locator("#step").fill(str(at.step))
    page.locator(f"#samples input[value='{at.sample}']").check()
    page.locator(f"[data-neuron='{at.neuron}']").click()
    page.locator("#weight").select_option(str(at.input))


@pytest.mark.parametrize("name", LESSONS)
def test_numbers_are_the_recorded_ones(browser, folder, recordings, name):
    lesson, arrays = recordings[name]
    with visit(browser, folder) as page:
        page.locator(f"#data button[value={name}]").click()
        page.locator("#phases button[value='3']").click()
        for at in PLACES[name]:
            go_to(page, at)
            shown = page.evaluate(SHOWN)
            wanted = expected(lesson, arrays, at)
            assert shown.keys() == wanted.keys()
            for key, value in wanted.items():
                number, text = shown[key]
                assert number == pytest.approx(value, rel=1e-6, abs=2e-6), (at, key)
                assert numeral(text) == pytest.approx(value, rel=5e-3, abs=5.2e-5), (at, key)
            listed = page.locator("#batch [data-what=share]").evaluate_all(
                "cells => cells.map(cell => Number(cell.dataset.value))"
            )
            rest = page.locator("#batch [data-what=rest]").evaluate_all(
                "cells => cells.map(cell => Number(cell.dataset.value))"
            )
            assert len(listed) == lesson.kept
            assert sum(listed + rest) == pytest.approx(wanted["gradient"], rel=1e-5, abs=1e-7)
            assert listed[at.sample] == pytest.approx(wanted["share_product"], rel=1e-5, abs=1e-9)


def test_numbers_not_computed_yet_are_hidden(browser, folder):
    known = ["sum", "activation", "old_weight", "target"]
    later = [["prediction", "loss_here", "cost"], ["share_cost", "gradient", "taken"]]
    with visit(browser, folder) as page:
        for phase, more in enumerate([[], *later, ["new_weight"]]):
            page.locator(f"#phases button[value='{phase}']").click()
            known += more
            shown = page.evaluate(SHOWN).keys()
            assert set(known) <= shown
            assert not shown & set(sum(later[phase:], ["new_weight"] if phase < 3 else []))


@pytest.mark.parametrize("name", LESSONS)
def test_images_are_drawn_with_the_network(browser, folder, recordings, name):
    """JavaScript computes the same outputs for the plane and test images as the network."""
    lesson, arrays = recordings[name]
    rows = lesson.judged[0][:20]
    with visit(browser, folder) as page:
        page.locator(f"#data button[value={name}]").click()
        for step in (0, 30, len(arrays["losses"])):
            drawn = page.evaluate(
                "([step, rows]) => rows.map(x => [...run().evaluate(run().weights(step), x)])",
                [step, rows.tolist()],
            )
            outputs = forward(lesson, arrays["weights"][step], rows)[1]
            shown = np.array(drawn)[:, lesson.hidden :]
            np.testing.assert_allclose(shown, outputs, rtol=1e-4, atol=1e-5)


def test_the_boundary_lies_between_the_classes(browser, folder, recordings):
    """On the path of the boundary, the last network's output is 0."""
    lesson, arrays = recordings["points"]
    with visit(browser, folder) as page:
        page.locator("#last").click()
        path = page.locator("path.boundary").get_attribute("d")
        assert (
            page.locator("#score_points").inner_text() == "96 of 96 points are on the correct side."
        )
        assert "96 of them" in page.locator("#plane svg").get_attribute("aria-label")
    numbers = np.array(re.findall(r"-?[\d.]+", path), float).reshape(-1, 2)
    assert len(numbers) > 50
    places = np.stack([numbers[:, 0] / 100 - 2, 2 - numbers[:, 1] / 100], axis=1)
    outputs = forward(lesson, arrays["weights"][-1], places)[1]
    assert np.abs(outputs).max() < 0.02


def where(page) -> str:
    phase = page.locator("#phases [aria-current=step]").inner_text().split()[-1]
    return f"{page.locator('#where').inner_text()}: {phase}"


def test_only_with_the_keyboard(browser, folder):
    with visit(browser, folder) as page:
        press = page.keyboard.press
        assert where(page) == "Step 1 of 120, epoch 1: Forward"
        press("ArrowRight")
        assert where(page).endswith("Step 1 of 120, epoch 1: Loss")
        press("Shift+ArrowRight")
        assert where(page) == "Step 2 of 120, epoch 1: Loss"
        press("ArrowLeft")
        press("ArrowLeft")
        assert where(page) == "Step 1 of 120, epoch 1: Update"
        page.locator("#step").press("End")
        page.locator("h1").click()
        assert where(page) == "Step 120 of 120, epoch 10: Update"
        press("ArrowRight")
        assert where(page) == "Step 120 of 120, epoch 10: Update"
        page.locator("#step").press("Home")
        for _ in range(3):
            page.locator("#first").press("ArrowLeft")
        page.locator("h1").click()
        assert where(page) == "Step 1 of 120, epoch 1: Forward"
        stops = []
        for _ in range(40):
            press("Tab")
            focus = page.evaluate("""() => {
                const one = document.activeElement;
                const outlined = [one, one.closest("label")].some(
                    (each) => each && getComputedStyle(each).outlineStyle === "solid");
                const halo = one.querySelector(".halo");
                const ringed = halo && getComputedStyle(halo).strokeWidth === "4.5px";
                const name = one.id || one.name || one.dataset.neuron || one.value || one.tagName;
                return [name, Boolean(outlined || ringed)];
            }""")
            if focus[0] == "BODY":
                break
            assert focus[1], f"{focus[0]} has focus, and does not show it"
            stops.append(focus[0])
        assert {"language", "step", "run", "speed", "sample", "weight", "output"} <= set(stops)
        chosen = page.locator("[role=radio][aria-checked=true]")
        assert chosen.get_attribute("data-neuron") in stops
        chosen.focus()
        before = int(chosen.get_attribute("data-neuron"))
        press("ArrowDown")
        assert chosen.get_attribute("data-neuron") == str((before + 1) % 7)
        assert page.evaluate("document.activeElement.getAttribute('aria-checked')") == "true"
        assert page.locator("#neuron_title").inner_text() == f"Inside: Hidden neuron {before + 2}"
        page.locator("#samples input[value='0']").focus()
        press("ArrowRight")
        assert "point 2" in page.locator("#batch tr.chosen").inner_text()
        assert where(page) == "Step 1 of 120, epoch 1: Forward"


def chosen(page) -> list:
    return page.evaluate("[state.sample, state.neuron, state.input]")


def test_with_the_mouse(browser, folder):
    with visit(browser, folder, "index.html") as page:
        page.locator("#plane [data-sample='4']").click()
        page.locator("#network .edges path").nth(9).dispatch_event("click")
        assert chosen(page) == [4, 4, 1]
        page.locator("#forward tr[data-input='2']").click()
        assert chosen(page) == [4, 4, 2]
        page.locator("[data-neuron='6']").click()
        assert chosen(page) == [4, 6, 4]  # the weight from the previously chosen neuron
        shade = "document.querySelector('#plane canvas').toDataURL()"
        before = page.evaluate(shade)
        page.locator("[data-neuron='1']").click()
        page.locator("#color button[value=neuron]").click()
        assert page.evaluate(shade) != before
        page.locator("#data button[value=digits]").click()
        page.locator("#forward .pictures [data-pixel='35']").nth(1).click()
        assert chosen(page)[2] == 35
        page.locator("#network .input [data-pixel='20']").click()
        assert chosen(page)[2] == 20
        assert page.locator("#weight").input_value() == "20"


def test_running(browser, folder):
    with visit(browser, folder) as page:
        page.clock.install(time=0)
        page.clock.pause_at(1000)  # only run_for advances it
        says = page.locator("#says")
        assert says.get_attribute("aria-live") == "polite"
        page.locator("#run").press("Space")
        page.clock.run_for(330 * 5)
        assert says.get_attribute("aria-live") == "off"
        page.locator("#run").press("Space")
        assert says.get_attribute("aria-live") == "polite"
        assert where(page) == "Step 6 of 120, epoch 1: Update"
        page.clock.run_for(2000)
        assert where(page) == "Step 6 of 120, epoch 1: Update"
        page.locator("#speed").select_option("phases")
        page.locator("#run").click()
        page.clock.run_for(500)
        assert where(page) == "Step 7 of 120, epoch 1: Forward"
        page.clock.run_for(1600)
        assert where(page) == "Step 7 of 120, epoch 1: Loss"
        page.locator("#step").fill("110")
        page.locator("#speed").select_option("fast")
        page.locator("#run").click()
        page.clock.run_for(1000)
        assert where(page) == "Step 120 of 120, epoch 10: Update"
        assert page.locator("#run").inner_text() == "Run again"
        assert page.evaluate("document.getAnimations().length") == 0  # the page prefers less motion


def test_phases_are_described(browser, folder, recordings):
    _, arrays = recordings["points"]
    with visit(browser, folder) as page:
        shown = []
        for _ in range(4):
            shown.append(page.locator("#says[role=status]").inner_text())
            page.keyboard.press("ArrowRight")
    prediction = f"{arrays['sums'][0, 0, 6]:.4f}".replace("-", "−")
    assert shown[0].endswith(f"The network predicts p = {prediction}.")
    assert f"cost C = {arrays['losses'][0]:.4f}." in shown[1]
    assert "has the gradient" in shown[2]
    assert shown[3].startswith("Every weight takes a step against its gradient: w − 0.1 · dC/dw")


def test_a_screen_reader_finds_names_and_values(browser, folder, recordings):
    _, arrays = recordings["points"]
    with visit(browser, folder) as page:
        by_role = page.get_by_role
        z = arrays["sums"][0, 0]
        neuron = int(np.argmax(z[:6]))
        label = f"Hidden neuron {neuron + 1}: sum {z[neuron]:.3f}, activation {z[neuron]:.3f}"
        group = by_role("radiogroup", name="Neurons; arrow keys choose one")
        assert group.get_by_role("radio").count() == 7
        assert group.get_by_role("radio", checked=True).get_attribute("aria-label") == label
        slider = by_role("slider", name="Step of the training")
        assert slider.get_attribute("aria-valuetext") == "Step 1 of 120, Forward"
        batch = by_role("group", name="Choose a sample of this step's batch:")
        assert batch.get_by_role("radio", name="point 1, −1").is_checked()
        right = round(96 * arrays["accuracies"][0])
        plane = by_role("img", name="Plane with 96 points.").get_attribute("aria-label")
        assert f" {right} of them are on the correct side" in plane
        table = by_role("table", name="Sum over the batch")
        assert table.get_by_role("rowheader", name="point 8").count() == 1
        assert by_role("button", name="Forward", exact=False).first.get_attribute("aria-current")


def test_the_theme_chosen_on_the_site_overrides_the_systems(browser, folder):
    paper = "getComputedStyle(document.body).backgroundColor"
    with visit(browser, folder, dark=True) as page:
        dark = page.evaluate(paper)
        page.evaluate("localStorage.setItem('theme', 'light')")
        page.reload()
        light = page.evaluate(paper)
        assert light != dark
        page.evaluate("localStorage.setItem('theme', 'auto')")
        page.reload()
        assert page.evaluate(paper) == dark
        page.emulate_media(color_scheme="light")
        page.wait_for_function(f"{paper} === '{light}'")  # at the browser's next frame


@pytest.mark.parametrize(
    ("address", "dark"), [("index.html#zh", False), ("index.html#digits", True)]
)
def test_accessible(browser, folder, address, dark):
    with visit(browser, folder, address, dark=dark) as page:
        page.locator("#phases button[value='2']").click()
        assert inaccessible(page) == []


CUT_OFF = """() => {
    const whole = document.querySelector("#network svg").getBoundingClientRect();
    return [...document.querySelectorAll("#network text")].filter((text) => {
        const box = text.getBoundingClientRect();
        return box.width && (box.left < whole.left || box.right > whole.right
            || box.top < whole.top || box.bottom > whole.bottom);
    }).map((text) => text.textContent);
}"""


@pytest.mark.parametrize("address", ["index.html#digits", "index.html#zh"])
def test_on_a_phone(browser, folder, address):
    with visit(browser, folder, address, width=PHONE) as page:
        for _ in range(4):
            assert too_wide(page) == []
            assert page.evaluate(CUT_OFF) == []
            page.keyboard.press("ArrowRight")


def test_it_opens_from_a_plain_folder(browser, folder):
    page = browser.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text))
    page.goto((folder / "index.html").as_uri())
    assert page.locator("a:visible").count() == 0  # it has no links without a site
    assert page.locator("#says").inner_text().startswith("Point 1 passes through")
    page.close()
    assert faults == []


def test_without_a_recording_it_names_the_command(browser, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "learning")
    (tmp_path / "learning" / "recording.js").unlink()
    page = browser.new_page()
    page.goto((tmp_path / "learning" / "index.html").as_uri())
    assert page.get_by_text("scripts/docs/record_learning.py").is_visible()
    page.close()


def test_both_languages_have_all_words(browser, folder):
    with visit(browser, folder) as page:
        words = page.evaluate("WORDS")
        assert words["en"].keys() == words["zh"].keys()
        for name, english in words["en"].items():
            placeholders = [set(re.findall(r"{\w+}", words[code][name])) for code in words]
            assert placeholders[0] == placeholders[1], name
            assert words["zh"][name] != english or name in (
                "home",
                "unknown",
                "share_slope_linear",
            ), name
        page.get_by_role("button", name="中文").click()
        assert page.evaluate("document.documentElement.lang") == "zh"
        assert page.locator("h1").inner_text() == "看一个网络学习"
        assert page.get_by_role("button", name="前向").is_visible()
        page.get_by_role("button", name="English").click()
        assert page.locator("h1").inner_text() == "Watch a network learn"


def test_filters_and_their_feature_maps(browser, folder, recorder):
    recorded, steps = recorder.filters(), recorder.FILTER_STEPS
    _, _, X_test, _ = gpunn.data.load_digits()
    assert recorded["accuracies"][-1] > recorded["accuracies"][0] + 0.5
    with visit(browser, folder) as page:
        labels = page.locator("#maps svg")
        for step, image in ((steps, 0), (0, 7)):
            page.locator("#filter_step").fill(str(step))
            page.locator(f"#filter_samples input[value='{image}']").check()
            padded = np.pad(X_test[image].reshape(8, 8) / 16, 1)
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).reshape(64, 9)
            z = windows @ recorded["weights"][step] + recorded["biases"][step]
            expected = np.maximum(z, 0).max(axis=0)
            values = labels.evaluate_all("all => all.map((each) => Number(each.dataset.value))")
            np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
            share = f"{100 * recorded['accuracies'][step]:.0f} %"
            assert f"After {step} of {steps}" in page.locator("#filter_where").inner_text()
            assert share in page.locator("#filter_where").inner_text()
        assert "Filter 1. Largest number" in labels.first.get_attribute("aria-label")
        page.locator("#language").click()
        assert "滤波器 1" in labels.first.get_attribute("aria-label")

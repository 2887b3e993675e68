"""The report's HTML, read by a parser; test_browser.py looks at it in a browser."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
from reporting.pages import Page, check_page, numbers
from run_folders import edited, evaluation, history, write_lines
from safetensors.numpy import load_file

import gpunn
from gpunn.errors import ArgumentError, ConfigError, InvalidFileError, MissingPackageError
from gpunn.reporting import write_report
from gpunn.reporting.page import report_html
from gpunn.reporting.records import read_run


def page(*runs) -> Page:
    return Page(report_html(runs, "numpy"))


@pytest.fixture(scope="module")
def digits_page(all_pages) -> Page:
    return Page(all_pages[0])


@pytest.fixture(scope="module")
def other_page(all_pages) -> Page:
    return Page(all_pages[1])


def test_it_needs_nothing_else(all_pages):
    for text in all_pages:
        check_page(text)  # has no scripts, handlers or other addresses
        for address in re.findall(r"url\(([^)]*)\)|@import", text):
            assert address.startswith("#"), address
        policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        policy += "base-uri 'none'; form-action 'none'"
        assert f'http-equiv="Content-Security-Policy" content="{policy}"' in text


def test_ids_are_unique_and_references_lead_somewhere(all_pages):
    for text in all_pages:
        root = Page(text).root
        ids = [one.attributes["id"] for one in root.all() if "id" in one.attributes]
        assert len(set(ids)) == len(ids)
        references = re.findall(r"""href="#([^"]+)|url\(#([^)]+)\)""", text)
        for name in ("aria-labelledby", "aria-describedby"):
            references += [
                (one.attributes[name], "") for one in root.all() if name in one.attributes
            ]
        assert {first or second for first, second in references} <= set(ids)


def test_every_chart_has_its_data_and_a_text_alternative(all_pages):
    seen = 0
    for text in all_pages:
        document = Page(text)
        named = {one.attributes.get("id"): one.text for one in document.root.all()}
        for key, chart in document.charts().items():
            (svg,) = chart.all("svg", class_="plot")
            assert svg.attributes["role"] == "img"
            assert named[svg.attributes["aria-labelledby"]].strip()
            assert len(named[svg.attributes["aria-describedby"]]) > 30
            rows = numbers(chart)
            assert rows
            width = len(chart.all("thead")[0].all("th"))
            assert all(len(row) == width for row in rows)
            assert all(row[0].strip() for row in rows)
            if "confusion" in key:
                drawn = [one for one in svg.all("g") if "-cell-" in one.attributes.get("id", "")]
                cells = [cell for row in rows for cell in row[1:] if cell != "0"]
                assert len(drawn) == len(cells)
            else:
                groups = [one for one in svg.all("g") if "-series-" in one.attributes.get("id", "")]
                lines = len(chart.all("ul", class_="legend")[0].all("li")) if chart.all("ul") else 1
                assert len(groups) == lines
                for group in groups:
                    marks = [one.attributes["d"] for one in group.all("path")]
                    assert marks
                    assert all(re.search(r"\d", d) for d in marks)
            seen += 1
    assert seen > 30


def test_colors_are_those_of_the_theme(all_pages):
    for text in all_pages:
        for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
            assert not re.search(r"#[0-9a-f]{6}\b", svg)
            used = set(re.findall(r"var\((--[\w-]+)\)", svg))
            assert used
            for variable in used:
                assert len(re.findall(rf"{variable}:", text)) == 2, variable  # light and dark


def test_images_have_text_alternatives(all_pages):
    for text in all_pages:
        root = Page(text).root
        described = {id(img) for box in root.all(role="img") for img in box.all("img")}
        for img in root.all("img"):
            assert img.attributes["alt"] or id(img) in described
        for box in root.all("div", role="img"):
            assert box.attributes["aria-label"]


def test_what_was_run_and_where(digits_page, digits_run):
    text = digits_page.root.text
    environment = json.loads((digits_run / "environment.json").read_text())
    for expected in (
        "1,149 training, 288 validation, 360 test",
        "softmax_cross_entropy (label_smoothing 0)",
        "cosine (rate 0.01, final 0)",
        environment["started"],
        environment["python"],
        f"numpy {np.__version__}",
        gpunn.__version__,
        str(digits_run),
        '"split_seed": 0',
    ):
        assert expected in text, expected


def test_learning_curves_with_the_best_epoch(digits_page, digits_run):
    rows = history(digits_run)
    chart = digits_page.charts()["run-1-accuracy"]
    assert [row[0] for row in numbers(chart)] == ["1", "2", "3"]
    assert [row[2] for row in numbers(chart)] == [f"{row['val_accuracy']:.4g}" for row in rows]
    best = max(rows, key=lambda row: row["val_accuracy"])["epoch"]
    assert f"best epoch: {best}" in chart.text
    assert {"run-1-loss", "run-1-learning_rate", "run-1-samples_per_second"} <= set(
        digits_page.charts()
    )


def test_norms_by_layer(digits_page, digits_run):
    last = json.loads((digits_run / "norms.jsonl").read_text().splitlines()[-1])
    weights = load_file(digits_run / "final.safetensors")
    for kind in ("parameters", "gradients"):
        chart = digits_page.charts()[f"run-1-{kind}-norms"]
        header = [cell.text for cell in chart.all("thead")[0].all("th")]
        assert header == ["epoch", "dense_1", "batch_norm_1", "dense_2"]
        own = [norm for name, norm in last[kind].items() if name.startswith("dense_2.")]
        assert numbers(chart)[-1][3] == f"{np.linalg.norm(own):.4g}"
    both = [weights["dense_2.weights"].ravel(), weights["dense_2.biases"]]
    expected = f"{np.linalg.norm(np.concatenate(both)):.4g}"
    assert numbers(digits_page.charts()["run-1-parameters-norms"])[-1][3] == expected


def test_results_of_classes(digits_page, digits_run):
    X, y = gpunn.data.load_digits()[2:]
    outputs = gpunn.load_model(digits_run / "final.safetensors", "numpy").predict(X)
    predicted = outputs.argmax(axis=1)
    matrix = numbers(digits_page.charts()["run-1-confusion"])
    assert [row[0] for row in matrix] == [str(digit) for digit in range(10)]
    for true in range(10):
        counts = np.bincount(predicted[y == true], minlength=10).tolist()
        assert [int(cell) for cell in matrix[true][1:]] == counts
    recall = 100 * np.mean(predicted[y == 8] == 8)
    assert numbers(digits_page.cards()["By class"])[8][3] == f"{recall:.1f}\N{NO-BREAK SPACE}%"
    wrong = np.flatnonzero(predicted != y)
    p = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    worst = wrong[p[wrong].max(axis=1).argmax()]
    pictures = digits_page.root.all("ul", class_="samples")[0].all("img")
    assert len(pictures) == min(24, len(wrong))
    assert (
        pictures[0]
        .attributes["alt"]
        .startswith(f"Row {worst}: {y[worst]}, predicted as {predicted[worst]} with probability ")
    )
    ended = evaluation(digits_run)["test"]
    *_, final, least = numbers(digits_page.cards()["Final metrics"])
    assert final == [
        "test, trained network",
        f"{ended['loss']:.4g}",
        f"{100 * ended['accuracy']:.2f}\N{NO-BREAK SPACE}%",
    ]
    assert least[0] == "test, baseline: most frequent class"
    shares = [f"{100 * np.mean(y == digit):.2f}\N{NO-BREAK SPACE}%" for digit in range(10)]
    assert least[2] in shares  # on the same rows


def test_weights_of_the_first_layer(digits_page):
    (box,) = digits_page.root.all("div", class_="weights")
    assert len(box.all("img")) == 16
    assert (
        "all 16 units of layer dense_1, each as an image of 8 by 8" in box.attributes["aria-label"]
    )


def test_results_of_numbers(other_page, numbers_run):
    charts = other_page.charts()
    assert len(numbers(charts["run-2-output-0-predicted"])) == 20
    for row, true, predicted in numbers(charts["run-2-output-0-predicted"]):
        again = next(one for one in numbers(charts["run-2-output-0-residuals"]) if one[0] == row)
        assert again[1] == predicted
        assert float(again[2]) == pytest.approx(float(predicted) - float(true), abs=2e-3)
    counts = [int(row[2]) for row in numbers(charts["run-2-output-0-histogram"])]
    assert sum(counts) == 20
    r2 = evaluation(numbers_run)["test"]["r2"]
    assert float(numbers(other_page.cards()["By output"])[0][-1]) == pytest.approx(r2, abs=1e-3)


def test_names_are_only_names(other_page):
    """Nothing in a data set is HTML, or a formula."""
    assert not other_page.root.all("b")
    matrix = other_page.charts()["run-3-confusion"]
    assert [row[0] for row in numbers(matrix)] == sorted(["<b>bold</b>", "$x_{1$", "猫"])
    drawn = [one.text for one in matrix.all("svg")[0].all("text")]
    assert {"<b>bold</b>", "$x_{1$", "猫"} <= set(drawn)
    assert "Most confidently wrong" in other_page.cards()


@pytest.mark.usefixtures("no_drawings")
def test_several_runs(digits_run, wider_run):
    document = page(digits_run, wider_run)
    differs = numbers(document.cards()["What differs"])
    assert differs == [["model.layers.1.units", "16", "24"], ["training.epochs", "3", "2"]]
    card = document.cards()["Runs"]
    accuracies = {
        name: read_run(run).best["val_accuracy"]
        for name, run in (("digits", digits_run), ("wider", wider_run))
    }
    best, other = sorted(accuracies, key=accuracies.get, reverse=True)
    assert accuracies[best] > accuracies[other]
    assert [row[:3] for row in numbers(card)] == [
        [f"{best}, best", "finished", f"{100 * accuracies[best]:.2f}\xa0%"],
        [other, "finished", f"{100 * accuracies[other]:.2f}\xa0%"],
    ]
    assert "Ranked by the validation metric val_accuracy" in card.text
    assert "may have different" not in card.text
    headings = [one.text for one in document.root.all("h2")]
    assert sorted(headings) == sorted(["Comparison", f"Best by validation: {best}", other])
    chart = document.charts()["compare-accuracy"]
    assert [row[0] for row in numbers(chart)] == ["1", "2", "3"]
    assert numbers(chart)[2][2] == "–"
    assert {"run-1-loss", "run-2-loss"} <= set(document.charts())


@pytest.mark.usefixtures("no_drawings")
def test_the_same_run_twice(digits_run, tmp_path):
    shutil.copytree(digits_run, tmp_path / "digits")
    document = page(digits_run, tmp_path / "digits")
    assert "Nothing: the configurations are the same." in document.root.text
    names = [row[0] for row in numbers(document.cards()["Runs"])]
    assert names == [f"{digits_run}, best", str(tmp_path / "digits")]  # the first of equal ones


@pytest.fixture
def copy(digits_run, tmp_path):
    return shutil.copytree(digits_run, tmp_path / "copy")


@pytest.mark.usefixtures("no_drawings")
def test_a_run_that_did_not_end(copy):
    (copy / "evaluation.json").unlink()
    (copy / "final.safetensors").unlink()
    with open(copy / "history.jsonl", "a") as file:
        file.write('{"epoch": 4, "lo')  # cut short
    document = page(copy)
    assert "The run has not ended" in document.root.text
    assert len(numbers(document.charts()["run-1-loss"])) == 3
    assert "run-1-confusion" in document.charts()  # of the checkpoint


@pytest.mark.usefixtures("no_drawings")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names are Unicode")
def test_a_folder_whose_name_is_no_unicode(copy, tmp_path):
    run = copy.rename(copy.with_name("b\udcff"))
    write_report([run], tmp_path / "report.html", "numpy")
    assert "<title>b?" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_run_before_its_first_epoch(copy):
    for path in copy.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "config.json":
            path.unlink()
    text = page(copy).root.text
    assert "No epoch is complete yet" in text
    assert "The folder contains no network." in text


@pytest.mark.usefixtures("no_drawings")
def test_data_that_is_gone(numbers_run, tmp_path):
    copied = shutil.copytree(numbers_run, tmp_path / "copy")
    with edited(copied / "config.json") as config:
        config["data"]["path"] = str(tmp_path / "gone.csv")
    document = page(copied)
    assert "Predictions are missing, because the data cannot be used" in document.root.text
    assert "run-1-loss" in document.charts()
    assert "Network" in document.cards()


def test_figures_that_are_not_finite(copy, draw_only):
    draw_only("loss|gradients")
    with edited(copy / "history.jsonl") as rows, edited(copy / "norms.jsonl") as norms:
        rows[1]["val_loss"] = None
        for row in norms:
            row["gradients"] = dict.fromkeys(row["gradients"])
    charts = page(copy).charts()
    assert numbers(charts["run-1-loss"])[1][2] == "–"
    assert {cell for row in numbers(charts["run-1-gradients-norms"]) for cell in row[1:]} == {"–"}
    assert "no finite values" in charts["run-1-gradients-norms"].text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("history.jsonl", b'{"epoch": 1}\n{"epoch": "two"}\n'),
        ("history.jsonl", b"\xff\n"),
        ("history.jsonl", b'{"epoch": 1, "loss": 1}\n{"loss": 1}\n'),
        ("history.jsonl", b'{"epoch": null, "loss": 1}\n'),
        ("norms.jsonl", b'{"epoch": 1}\n'),
        ("evaluation.json", b"[]"),
        ("environment.json", b"[" * 100_000),
        ("environment.json", b'{"backend": ["numpy"]}'),
        ("environment.json", b'{"packages": 3}'),
        ("environment.json", b'{"blas": "openblas"}'),
    ],
)
def test_damaged_files_are_named(copy, tmp_path, no_drawings, name, content):
    (copy / name).write_bytes(content)
    with pytest.raises(InvalidFileError) as raised:
        write_report([copy], tmp_path / "report.html")
    assert str(raised.value).startswith(f"{copy / name}")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.usefixtures("no_drawings")
def test_files_that_say_little(copy):
    """A configuration without what has defaults, and no word on where it was."""
    with edited(copy / "config.json") as config:
        del config["dtype"], config["training"]["batch_size"], config["training"]["optimizer"]
        del config["training"]["callbacks"]
    (copy / "environment.json").write_text("{}")
    text = report_html([copy], "numpy")
    assert "float32" in text
    (copy / "environment.json").unlink()
    assert report_html([copy], "numpy")


@pytest.mark.parametrize(
    ("callback", "best"),
    [
        ({"monitor": "val_loss"}, 4),
        ({"monitor": "val_loss", "min_delta": 0.05}, 3),
        ({"monitor": "val_loss", "mode": "max"}, 1),
        ({"monitor": "val_accuracy"}, 2),
        ({"monitor": "nothing"}, 2),
        (None, 2),
    ],
)
def test_the_best_epoch_is_that_of_the_training(copy, callback, best):
    losses, accuracies = [0.9, 0.7, 0.5, 0.46], [0.5, 0.8, 0.7, 0.8]
    pairs = zip(losses, accuracies, strict=True)
    rows = [
        {"epoch": epoch, "loss": 1.0, "val_loss": loss, "val_accuracy": accuracy}
        for epoch, (loss, accuracy) in enumerate(pairs, start=1)
    ]
    write_lines(copy / "history.jsonl", rows)
    with edited(copy / "config.json") as config:
        callbacks = [] if callback is None else [{"name": "early_stopping", **callback}]
        config["training"]["callbacks"] = callbacks
    assert read_run(copy).best["epoch"] == best


def test_what_is_no_run(tmp_path):
    with pytest.raises(ConfigError, match="expected a folder that gpunn train wrote"):
        report_html([tmp_path])
    with pytest.raises(ArgumentError, match="at least one run"):
        report_html([])


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_without_the_packages(digits_run, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=r"pip install '\.\[report\]'"):
        report_html([digits_run])


def test_the_same_run_gives_the_same_page(digits_run, draw_only):
    draw_only("loss|confusion")
    one, other = (report_html([digits_run], "numpy") for _ in range(2))
    written = re.compile(r"Written [^<]*")
    assert written.sub("", one) == written.sub("", other)

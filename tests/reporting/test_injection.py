"""Strings that look like markup, scripts or addresses, wherever a report or notebook shows them.

Names of classes, columns, figures, layers, folders and files come from whoever made the data or the
run. In the page they are text, and nothing else.
"""

import json
import shutil

import numpy as np
import pytest
from reporting.pages import Page, check_page
from run_folders import edited

import gpunn
from gpunn import layers
from gpunn.display import html_table
from gpunn.errors import ArgumentError
from gpunn.load import load_model
from gpunn.reporting.charts import Line, lines
from gpunn.reporting.page import report_html

PAYLOADS = [
    "<script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    '"><meta http-equiv=refresh content="0;url=//evil.example">',
    '"><base href="//evil.example/">',
    '"><form action="//evil.example"><button>',
    '" onload="alert(1)" x="',
    '") fill="url(//evil.example#x',
    "</svg></style></title><iframe src=//evil.example>",
    "--><script>alert(1)</script><!--",
    "]]><a href=javascript:alert(1)>x</a>",
    "{{ 7 * 7 }}{% for x in runs %}",
    "$\\frac{x$ & <b>&lt;b&gt;</b>",
    "javascript:alert(1)",
    "\u202e\u2066<link rel=stylesheet href=//evil.example>",
    "\\g<0>\\1",
]


@pytest.fixture
def hostile(digits_run, tmp_path):
    """Return a run of which every text is made of payloads, the folder's name too."""
    every = " ".join(PAYLOADS)
    run = tmp_path / PAYLOADS[3].replace("/", "_")
    shutil.copytree(digits_run, run)
    with edited(run / "history.jsonl") as rows:
        for row in rows:
            row.update({f"{p}{text}": 1.0 for text in PAYLOADS for p in ("", "val_")})
    with edited(run / "norms.jsonl") as rows:
        for row in rows:
            row["parameters"] |= dict.fromkeys(PAYLOADS, 1.0)
            row["gradients"] |= {f"{text}.x": 1.0 for text in PAYLOADS}
    names = ("started", "processor", "platform", "python", "gpunn")
    place = dict.fromkeys(names, every)
    place |= {"backend": {every: every}, "packages": {every: every}}
    place["blas"] = {"name": every, "version": every}
    (run / "environment.json").write_text(json.dumps(place))
    figures = dict.fromkeys(PAYLOADS, 0.5)
    ending = {"epochs": 3, "stopped": every, "test": {"rows": 360, **figures}}
    (run / "evaluation.json").write_text(json.dumps(ending))
    model = load_model(run / "final.safetensors", "numpy")
    model.metadata["classes"] = [*PAYLOADS[:9], PAYLOADS[-1]]
    model.save(run / "final.safetensors")
    return run


def test_a_report_shows_text_as_text(hostile, flowers_run, draw_only):
    draw_only("-confusion$")  # other drawings contain no text of a run
    page = check_page(report_html([hostile, flowers_run], "numpy"))
    shown = page.root.text
    titles = [one.all("h4")[0].text for one in page.charts().values()]
    for payload in PAYLOADS:
        assert shown.count(payload) > 10, payload
        assert titles.count(payload.replace("_", " ").capitalize()) == 2, "and in the comparison"


@pytest.mark.usefixtures("no_drawings")
def test_what_cannot_be_shown_is_told_with_text_as_text(hostile):
    """If the data is missing, the report shows its path and the settings."""
    every = "".join(PAYLOADS)
    path = f"/nowhere/{PAYLOADS[1]}"
    with edited(hostile / "config.json") as config:
        config["data"] = {"dataset": "csv", "path": path, "target": every, "delimiter": "<"}
    model = load_model(hostile / "final.safetensors", "numpy")
    columns = [f"{number}{text}" for number in range(4) for text in PAYLOADS]
    model.metadata |= {"header": True, "features": columns}
    model.save(hostile / "final.safetensors")
    shown = check_page(report_html([hostile], "numpy")).root.text
    assert f"Predictions are missing, because the data cannot be used: {path}" in shown
    assert json.dumps(every, ensure_ascii=False) in shown


@pytest.mark.parametrize("payload", PAYLOADS)
def test_notebooks_show_text_as_text(payload):
    model = gpunn.Sequential([layers.Dense(10, label=plain(payload))], 64, "numpy")
    history = gpunn.History()
    history.append({"epoch": 1, payload: 0.5})
    tables = [
        model._repr_html_(),
        history._repr_html_(),
        html_table(payload, [payload], [[payload]]),
    ]
    for table in tables:
        page = Page(table)
        assert {one.tag for one in page.root.all()} <= {
            *("table", "caption", "thead", "tbody", "tr", "th", "td")
        }
        for one in page.root.all():
            assert one.attributes.keys() <= {"scope", "style"}
    assert tables[1].count("<") == tables[1].count(">")
    assert Page(tables[2]).root.text == payload * 3


def plain(payload: str) -> str:
    """Labels of layers are part of array names, so some strings are not valid."""
    try:
        layers.Dense(1, label=payload)
        gpunn.Sequential([layers.Dense(1, label=payload)], 1, "numpy")
    except ArgumentError:
        return "plain"
    return payload


def test_a_key_is_a_plain_word():
    """Keys go into the drawing without escaping."""
    with pytest.raises(ArgumentError, match="key: expected letters"):
        lines('a"b', "title", [Line("x", [1.0], [1.0])])


def test_figures_called_like_other_charts(digits_run, tmp_path, draw_only):
    draw_only("(?i)confusion|loss")
    run = tmp_path / "run"
    shutil.copytree(digits_run, run)
    with edited(run / "history.jsonl") as rows:
        for row in rows:
            row |= {"confusion": 1.0, "Loss": 2.0}
    page = check_page(report_html([run], "numpy"))
    ids = [one.attributes["id"] for one in page.root.all() if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    assert np.isin(["run-1-confusion", "run-1-loss"], ids).all()

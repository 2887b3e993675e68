"""The navigation, and changes to pages that Markdown for repository hosts cannot express."""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).parents[2]

SECTIONS = {
    "Start": {
        "Install": "start/install",
        "Five minutes": "start/five_minutes",
        "Watch a network learn": "start/watch",
        "Tutorial": "start/tutorial",
        "教程": "start/tutorial.zh",
        "Tutorial: convolution": "start/convolution",
        "卷积教程": "start/convolution.zh",
        "Coming from PyTorch, Keras or scikit-learn": "start/migrating",
    },
    "How to": {
        "Train on a table": "how_to/tables",
        "在表格上训练": "how_to/tables.zh",
        "Find mistakes in a table": "how_to/inspect",
        "Choose a model and its settings": "how_to/choosing",
        "Use RealMLP and TabM": "how_to/tabular",
        "Train the best model in a given time": "how_to/time_limit",
        "Recognize images": "how_to/images",
        "Classify signals": "how_to/signals",
        "Split time series and groups": "how_to/splits",
        "Handle imbalanced classes": "how_to/imbalanced",
        "Early stopping and overfitting": "how_to/early_stopping",
        "Probabilities and prediction intervals": "how_to/prediction_intervals",
        "Migrate from scikit-learn": "how_to/sklearn",
        "Search faster with scikit-learn": "how_to/search",
        "Train on a GPU": "how_to/gpu",
        "Train on a cluster": "how_to/distributed",
        "Tune hyperparameters": "how_to/many_runs",
        "Train many networks": "how_to/many_networks",
        "Compare several seeds": "how_to/seeds",
        "Resume a run": "how_to/resume",
        "Report a run": "how_to/report",
        "Compare runs": "how_to/compare_runs",
        "Log to TensorBoard, MLflow or Weights & Biases": "how_to/trackers",
        "Fine-tuning and transfer learning": "how_to/fine_tuning",
        "Train on data larger than memory": "how_to/large_data",
        "Augment batches": "how_to/augmentation",
        "Export a model": "how_to/export",
        "Export to ONNX": "how_to/export_onnx",
        "Export to a Python file": "how_to/export_python",
        "Export to a C header": "how_to/export_c",
        "Exchange models with scikit-learn and PyTorch": "how_to/exchange",
        "Write custom classes": "how_to/extending",
        "Write backend operations": "how_to/operations",
        "Run in CI": "how_to/ci",
        "Complete commands in a shell": "how_to/shell",
        "FAQ by symptom": "how_to/faq",
    },
    "Reference": {
        "Python": "reference/python",
        "Command line": "reference/command_line",
        "Configuration and commands": "reference/configuration",
        "Table columns": "reference/table_columns",
        "scikit-learn compatibility": "reference/sklearn_compatibility",
        "Cheat sheet": "reference/cheat_sheet",
        "Glossary": "reference/glossary",
    },
    "Explanation": {
        "How RealMLP and TabM work": "explanation/tabular_models",
        "How distributed training works": "explanation/distributed",
        "Architecture": "explanation/architecture",
        "Resuming, safe files and divergence": "explanation/reliability",
        "How training runs on a CPU": "explanation/cpu",
        "How training runs on a GPU": "explanation/gpu",
        "Testing": "explanation/testing",
        "Benchmarks": "explanation/benchmarks",
        "When to use something else": "explanation/alternatives",
    },
    "Project": {
        "Changelog": "project/changelog",
        "Versions": "project/versions",
        "Security": "project/security",
        "Contributing": "project/contributing",
        "How benchmarks are measured": "project/benchmarking",
        "Test the CUDA backend": "project/gpu_testing",
        "Check gpunn on a real GPU": "project/gpu_check",
        "This documentation": "project/documentation",
    },
}
"""The navigation: sections and their pages, titled by task. Each page of docs/ must be in the
navigation."""

INCLUDED = {
    "project/changelog": "CHANGELOG.md",
    "project/contributing": "CONTRIBUTING.md",
    "project/security": "SECURITY.md",
}
"""Pages that show a file of the repository. In docs/, these pages contain only a link to the
file."""


def navigation() -> str:
    trees = []
    for section, pages in SECTIONS.items():
        entries = "\n".join(f"{title} </{page}>" for title, page in pages.items())
        trees.append(f":::{{toctree}}\n:hidden:\n:caption: {section}\n\n{entries}\n:::\n")
    return "\n".join(trees)


MODULES = ":::{toctree}\n:hidden:\n:glob:\n\npython/*\n:::\n"


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Insert files of the repository, and redirect links to these files."""
    if page in INCLUDED:
        file = ROOT / INCLUDED[page]
        app.env.note_dependency(file)
        source[0] = file.read_text(encoding="utf-8")
        source[0] = source[0].replace("](docs/", "](/").replace("](LICENSE", "](path:../../LICENSE")
    if page == "index":
        source[0] += "\n" + navigation()
    if page == "reference/python":
        source[0] += "\n" + MODULES
    source[0] = re.sub(r"\[[\w.]+\.md\]\(", "[](", source[0])  # titles instead of file names
    for included, name in INCLUDED.items():
        source[0] = re.sub(rf"\]\((\.\./)*{name}", f"](/{included}.md", source[0])


def give_context(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: nodes.Node | None
) -> None:
    """Set a page's language and ARIA roles for browsers and screen readers."""
    if page.endswith(".zh"):
        context["language"] = "zh-Hans"
    if "body" in context:  # the standard no longer has this role
        context["body"] = context["body"].replace("doc-biblioentry", "listitem")
    navigation = context["furo_navigation_tree"]
    context["furo_navigation_tree"] = navigation.replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )


def link_names(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Link names of gpunn in text to their entries in the reference.

    Names of options, such as --set, get a class so that lines don't break at their hyphens.
    """
    entries = app.env.domains.python_domain.objects
    linked = {id(part) for link in tree.findall(nodes.reference) for part in link.findall()}
    for literal in list(tree.findall(nodes.literal)):
        if literal.astext().startswith("-"):
            literal["classes"].append("option")
        name = re.sub(r"\(.*\)$", "", literal.astext())
        if name == "gpunn" and page != "reference/python":
            continue  # the command, not the package
        if name in entries and id(literal) not in linked:
            entry = entries[name]
            link = make_refnode(app.builder, page, entry.docname, entry.node_id, literal.deepcopy())
            literal.replace_self(link)


def add_learning(app: Sphinx, failed: Exception | None) -> None:
    """Add the page docs/learning, whose charts show a training run that is recorded here."""
    if failed is None and app.builder.format == "html":
        folder = Path(app.outdir) / "learning"
        shutil.copytree(ROOT / "docs" / "learning", folder, dirs_exist_ok=True)
        recorder = ROOT / "scripts" / "docs" / "record_learning.py"
        without_kernels = os.environ | {"GPUNN_KERNELS": "off"}  # they may not be built
        command = [sys.executable, recorder, folder / "recording.js", ".."]
        subprocess.run(command, env=without_kernels, check=True)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_lexer("csv", TextLexer)
    SearchEnglish.stem = cache(SearchEnglish.stem)  # of few words, each of which occurs often
    app.connect("source-read", read)
    app.connect("html-page-context", give_context, priority=900)  # after the theme's own
    app.connect("doctree-resolved", link_names)
    app.connect("build-finished", add_learning)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Pages, docstrings and messages are easy to read: no refused phrase, no long sentence."""

import re

import pytest
from prose import ROOT, Sentence, sentences

PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", ".github", "docs")
TEXTS = (*PAGES, "gpunn", "scripts")


def test_every_sentence_is_plain():
    """Without exceptions: a false alarm is reworded, or its pattern made more exact."""
    refused = [
        f"{sentence.place}: {objection}\n    {sentence.text}"
        for sentence in sentences(ROOT / name for name in TEXTS)
        for objection in sentence.objections()
    ]
    assert not refused, "\n".join(refused)


NO_SUMMARY = re.compile(
    r':\n +"""(`[^`]*` (is|are|has|have|maps?|must|may|can|contains?)\b|(Return )?None\b).*'
)


def test_docstrings_begin_with_what_a_function_or_class_is_or_does():
    """A fact about a parameter, or about None, follows the summary or is a comment."""
    texts = {file: file.read_text("utf-8") for file in (ROOT / "gpunn").rglob("*.py")}
    refused = [f"{file}{match[0]}" for file in texts for match in NO_SUMMARY.finditer(texts[file])]
    assert not refused, "\n".join(refused)


PLAIN, LONG = "word " * 30, "word " * 31


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("It runs.", 0),
        ("The end of the path of the file.", 1),
        ("The run goes on anew.", 2),
        ("Of the rows 20 % are held out.", 1),
        ('Install it: pip install "gpunn[fast]"', 1),
        (LONG, 1),
        (PLAIN, 0),
        ("Of course: besides, this goes online.", 0),
    ],
)
def test_objections(text, count):
    assert len(list(Sentence("", "page", text).objections())) == count


def test_no_sentence_of_a_docstring_begins_with_a_pronoun():
    assert len(list(Sentence("", "docstring", "It runs.").objections())) == 1


def test_sentences_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\nOne `anew`. [Two](anew) and\nso on:\n\n"
        "```text\nanew\n```\n\n$$ anew $$\n\n| a | b |\n"
    )
    found = [(s.place.rpartition(":")[2], s.text) for s in sentences([page]) if s.text]
    assert found == [
        *(("1", "# Title"), ("3", "One `x`."), ("3", "Two and so on:")),
        *(("12", "a"), ("12", "b")),
    ]


MODULE = """
def f(x):
    \"\"\"Return it.

    Parameters
    ----------
    x : int
        The number, or
        none.

    >>> f(1)
    anew
    \"\"\"
    how = f"; add {1 + x}" if x else ""
    kernel("const T* x, long long rows")
    if x:
        raise ValueError(f"x: expected {x!r} or " f"more{how}")
    return ", or " + f"{x}{'s' if x else ''} more"
"""


def test_sentences_of_a_module(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(MODULE)
    assert [(s.kind, s.text) for s in sentences([module])] == [
        *(("docstring", text) for text in ("Return it.", "x : int", "The number, or none.")),
        ("message", "x: expected {} or more; add {}"),
        ("piece", ", or {}s more"),
    ]

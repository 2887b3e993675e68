"""The sentences of the project's texts, and what makes one hard to read.

    python tests/prose.py [FILE OR FOLDER ...]    lists them

A text is a page (*.md), a docstring, or a message: a string of several words in a Python file.
A string that a variable gives to another one belongs to its message. A string that continues a
message of another function, such as ", or more", is a piece. Code, output of commands, formulas,
addresses, and text in backticks are left out.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

ROOT = Path(__file__).parents[1]

LONGEST = 30
"""Words of a sentence. Longer ones take a second reading."""

REFUSED = {
    "again, from scratch; reinitialized": r"\banew\b",
    "with, besides, next to, compared with": r"\bbeside\b",
    "continue, resume": r"\bgo(es)? on\b|\b(going|went|gone) on\b",
    "is reported, logged, printed": r"\b(is|are|was|were|be|been|being) (not )?told\b",
    "selects the best epoch": r"\btells? (the|which) (best )?epoch",
    "restore, revert": r"\b(take|takes|taken) back\b",
    "copied": r"\b(take|takes|taken) over\b",
    "treated as, mistaken for": r"\btaken? for\b|\btakes \w+ for\b",
    "custom X, own X, separate X": r"\bone's own\b|\bof (your|its|their|his|our|my) own\b",
    "except; nearly": r"\b(but for|all but)\b",
    "no process, no user; anyone who": r"\b(nobody|somebody|whoever)\b",
    "without; if there is no": r"\bwhere (there|it) (is|are) (no|none|not)\b",
    "raw, unchanged": r"\bas (it is|they are)\b",
    "reversed, conversely": r"\bthe other way round\b",
    "with one command": r"\bby one (command|argument|call)\b",
    "logs a warning, prints a notice": r"\bsays? so\b",
    "raises ValueError, exits with status 2": r"\b(is|are) an error\b",
    "detected automatically": r"\bit is found\b",
    "diverged, became NaN": r"\b(go(es|ing)?|went|gone) bad\b",
    "held out": r"\bsets? aside\b",
    "test split": r"\b(test|training|validation) parts?\b",
    "integer": r"\bwhole numbers?\b",
    "strings, text columns": r"\btexts\b",
    "Boolean": r"\btruth values?\b",
    "malformed row": r"\bbroken rows?\b",
    "bitwise identical": r"\bsame bits\b|\bbit (by|for) bit\b",
    "logging step": r"\breport points?\b",
    "package, module": r"\brooms?\b",
    "tabular model": r"\bnetworks? for tables\b",
    "the noun again": r"\bones? of (a|its|their|your)\b|\b(that|those) of\b|\btheirs\b",
    "the thing's name": r"\bwhat (it|they) (is|are|was|were)\b",
    "'s, or two sentences": r"\bof the (?!sums?|roots?|squares)[\w-]+ of the\b",
    "manually": r"\bby hand\b",
    "immediately; together": r"\bat once\b",
    "chart, image": r"\bpictures?\b",
    "iterates, reads": r"\bgo(es|ne) through\b",
    "the subject first": r"(?-i:(^|[.:*] )\W{0,2}Of (?!course))",
    "'.[extra]', until gpunn is on PyPI": r"pip install\b.*\bgpunn\[",
}
"""Patterns, case aside, by what to write instead."""

COMPILED = [(instead, re.compile(text, re.IGNORECASE)) for instead, text in REFUSED.items()]
WORD = "|".join(text.removeprefix(r"\b") for text in REFUSED.values() if text.startswith(r"\b"))
OTHERS = "|".join(text for text in REFUSED.values() if not text.startswith(r"\b"))
ANY = re.compile(rf"\b(?:{WORD})|{OTHERS.replace('-i', 'i')}")
"""Of lower-case text, in a tenth of the time of all patterns."""

PRONOUN = re.compile(r"(They|Its?|Their)\b")
"""At the beginning of a docstring's sentence."""

INLINE_CODE = re.compile(r"(`+).+?\1")
LINK = re.compile(r"!?\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])")
NOT_WORDS = re.compile(r"<[^>]*>|\$\$.*\$\$|https?://\S+")
END = re.compile(r"(?<=[.!?:;])[\"')*_]*\s+(?=[\"'(*_`]*[A-Z0-9`{%-])")
WORDS = re.compile(r"[A-Za-z{}`'\"]+,? [a-z{`'\"]")
PROGRAM = re.compile(
    r"[;{] *(\n|$)|\n *(def|return|#|if|for) |^\s*(def|asm|for|from|import|%(?!s)) ?\b"
    r"|\b((T|long long|unsigned( int)?|u?int(8|16|32|64))\b|(float|int)\*)\*? [\w{]"
)
"""Of a string that is the text of a program, or its parameters."""
PIECE = re.compile(r"\s|[,;.):]")


class Sentence(NamedTuple):
    place: str
    kind: str
    text: str

    def objections(self) -> Iterator[str]:
        if (words := len(self.text.split())) > LONGEST:
            yield f"{words} words; split it"
        for instead, pattern in COMPILED if ANY.search(self.text.lower()) else ():
            if match := pattern.search(self.text):
                yield f'"{match[0].strip()}": write {instead}'
        if self.kind == "docstring" and (match := PRONOUN.match(self.text)):
            yield f'"{match[0]}" at the beginning: write the noun'


def sentences(folders: Iterable[Path]) -> Iterator[Sentence]:
    """Yield the sentences of pages, docstrings and messages in files and folders."""
    for folder in folders:
        for file in [folder] if folder.is_file() else sorted(folder.rglob("*.[mp][dy]")):
            blocks = of_page if file.suffix == ".md" else of_module
            for line, kind, block in blocks(file.read_text(encoding="utf-8")):
                block = NOT_WORDS.sub("", INLINE_CODE.sub("`x`", LINK.sub(r"\1", block)))
                yield from (Sentence(f"{file}:{line}", kind, text) for text in END.split(block))


def of_page(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the paragraphs, items, headings and cells of a page, with their first lines."""
    block: list[str] = []
    first, fence = 1, ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        stripped = line.strip()
        mark = re.match(r"(```|~~~|\$\$|:::)(?!.*\$\$)", stripped)
        begins = re.match(r"([-*+]|\d+\.|#+)\s|\|", stripped)
        if block and (not stripped or begins or mark or fence):
            yield first, "page", " ".join(block)
            block = []
        if mark and mark[0] != ":::":
            fence = "" if fence else mark[0]
        elif stripped.startswith("|") and not fence:
            yield from ((number, "page", cell.strip()) for cell in re.split(r"(?<!\\)\|", stripped))
        elif (
            stripped and not mark and not fence and (block or begins or not line.startswith("    "))
        ):
            first = first if block else number
            block.append(stripped)


def of_module(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the paragraphs of docstrings, and of strings of several words that are no program."""
    found: list[Found] = []
    collect(ast.parse(text), {}, found)
    for line, kind, value in found:
        if kind == "docstring" or (kind and WORDS.search(value) and not PROGRAM.search(value)):
            kind = "piece" if kind == "message" and PIECE.match(value) else kind
            yield from ((start, kind, block) for start, block in paragraphs(value, line))


Found: TypeAlias = list[Any]
"""The line, kind and text of a string; the kind is "" if the text is within another one."""


def collect(node: ast.AST, named: dict[str, list[Found]], found: list[Found]) -> None:
    """Find the strings below a node; `named` has those that variables of the function stand for."""
    if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp) and (
        value := text_of(node, named)
    ):
        found.append([node.lineno, "message", value])
        return
    first = len(found)
    inner = {} if isinstance(node, ast.FunctionDef) else named
    for child in ast.iter_child_nodes(node):
        collect(child, inner, found)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and found[first:]:
        found[first][1] = "docstring"
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        named[node.targets[0].id] = found[first:]


def text_of(node: ast.AST, named: dict[str, list[Found]]) -> str:
    """Return the text of a string, with {} for values; "" if the node is no string."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(text_of(part, named) or "{}" for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)) if pieces := named.get(name):
            for piece in pieces:
                piece[1] = ""
            return str(pieces[0][2])
        case ast.FormattedValue(value=value):
            return text_of(value, named)
        case ast.IfExp(body=body, orelse=other):
            return text_of(body, named) or text_of(other, named)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            texts = text_of(left, named), text_of(right, named)
            return "".join(each or "{}" for each in texts) if any(texts) else ""
    return ""


def paragraphs(text: str, start: int) -> Iterator[tuple[int, str]]:
    """Yield paragraphs without examples, literal blocks, formulas and titles."""
    block: list[str] = []
    first, indent, example, literal = start, 0, False, -1
    for number, line in enumerate([*text.splitlines(), ""]):
        stripped, depth = line.strip(), len(line) - len(line.lstrip())
        example = bool(stripped) and (example or stripped.startswith(">>>"))
        literal = literal if depth > literal or not stripped else -1
        underline = re.fullmatch(r"[-=~^]{3,}", stripped)
        left_out = not stripped or example or underline or literal >= 0
        if block and (
            left_out or stripped.startswith(("- ", "* ")) or (number > 1 and depth != indent)
        ):
            if not underline:
                yield first, " ".join(block)
            block = []
        if not left_out:
            if not block:
                first, indent = start + number, depth
            block.append(stripped)
            if stripped.endswith("::") or stripped.startswith(".. math"):
                literal = depth


if __name__ == "__main__":
    places = map(Path, sys.argv[1:] or [ROOT / "README.md", ROOT / "docs", ROOT / "gpunn"])
    for each in sentences(places):
        for objection in each.objections():
            print(f"{each.place}: {each.kind}: {objection}\n    {each.text}")

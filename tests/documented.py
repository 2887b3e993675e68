"""Tables in documents that tests compare with the code, each between two comments."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
GPU_TESTING = TESTS.parent / "docs" / "project" / "gpu_testing.md"
GPU_EXPLAINED = TESTS.parent / "docs" / "explanation" / "gpu.md"
GPU_HOW_TO = TESTS.parent / "docs" / "how_to" / "gpu.md"
KERNELS = TESTS / "kernels" / "README.md"


def marked(table: str, name: str) -> str:
    return f"<!-- {name}: begin -->\n{table}\n<!-- {name}: end -->"


def table_in(document: Path, name: str) -> str:
    text = document.read_text(encoding="utf-8")
    match = re.search(marked("(.*?)", name), text, re.DOTALL)
    assert match is not None, f"{document} has no table of {name}"
    return match[1].strip()


def write(document: Path, name: str, table: str) -> None:
    old = marked(table_in(document, name), name)
    text = document.read_text(encoding="utf-8").replace(old, marked(table, name))
    document.write_text(text, encoding="utf-8")

"""The documentation is true: its code runs, its output is right, its configurations load.

The fenced blocks of README.md and docs/**/*.md run in the order of each document, in a folder that
contains only the repository's scripts/:

* `python` runs, in one namespace per document. Its output must match the `text` block directly
  after it, in which "..." stands for any characters. A block whose first line is a comment with a
  file name is written to that file instead.
* `toml` must be a whole configuration. If the first line is a file name, it is also written there.
* `py` is an excerpt of the file named in its first line.
* `csv` has a file name after its language, and is written to that file.
* `c` is a program in C99. If gcc is installed, it is compiled and run; its output is checked like
  that of `python`.
* `console` lines that begin with "$ gpunn" run, and their output must match the following lines, if
  there are any. Lines that request a GPU, or name a placeholder in capitals (TABLE.csv), are only
  parsed. Charts of reports aren't drawn.
"""

import ast
import dataclasses
import doctest
import gc
import importlib
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
import pytest
from public_names import public_objects

import gpunn
from gpunn import config as configuration
from gpunn.cli import main
from gpunn.config.tables import AnyDataSet
from gpunn.configurable import Configurable, known
from gpunn.errors import MissingPackageError
from gpunn.experiment.files import FILES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gpunn"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)
PUBLIC = {f"{value.__module__}.{value.__qualname__}" for value in public_objects().values()}
OPTIONAL = {"cupy", "cupyx", "joblib", "numba", "pandas", "sklearn"}

LANGUAGES = {"python", "py", "text", "toml", "csv", "console", "c"}

FENCE = re.compile(r"^```(\w*)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# ([\w-]+\.(?:py|toml))\n")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@dataclasses.dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int
    output: str
    file_name: str | None


def blocks(path: Path) -> list[Block]:
    document = path.read_text(encoding="utf-8")
    fences = list(FENCE.finditer(document))
    result = []
    for fence, following in itertools.zip_longest(fences, fences[1:]):
        output = ""
        if following is not None and following[1] == "text":
            between = document[fence.end() : following.start()]
            output = "" if between.strip() else following[3]
        line = document.count("\n", 0, fence.start()) + 1
        comment = FILE_NAME.match(fence[3])
        file_name = comment[1] if comment else fence[2]
        result.append(Block(fence[1], fence[3], line, output, file_name))
    return result


def matches(expected: str, printed: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in expected.rstrip().split("..."))
    lines = "\n".join(line.rstrip() for line in printed.rstrip().splitlines())
    return re.fullmatch(pattern, lines) is not None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_drawings: None) -> Iterator[Path]:
    gc.freeze()  # so that the last collection only collects objects of the examples
    # joblib's processes are for tests/sklearn/test_parallel.py; here, threads take their place.
    monkeypatch.setattr("joblib.parallel.DEFAULT_BACKEND", "threading", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUNN_BACKEND", "numpy")
    monkeypatch.setenv("GPUNN_THREADS", "1")  # no thread waits for another in a loop
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    gc.collect()  # classes defined by examples stay registered until they are collected


OFTEN = ["train", "credit_risk.csv", "--target", "loan_status"]
"""A command of several documents, whose run is shared."""


@pytest.fixture(scope="module")
def often(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("often") / "runs"


TRANSLATIONS = sorted((ROOT / "docs").rglob("*.zh.md"))
"""Documents with the code of other documents, as a test below checks."""


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if path not in TRANSLATIONS], ids=relative
)
def test_document_does_what_it_says(
    path: Path,
    folder: Path,
    often: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType("document")
    monkeypatch.setitem(sys.modules, "document", module)
    for block in blocks(path):
        location = f"{relative(path)}, line {block.line}"
        if block.file_name is not None:
            (folder / block.file_name).write_text(block.text, encoding="utf-8")
        if block.language == "python" and block.file_name is None:
            # With leading blank lines, tracebacks have the document's line numbers.
            try:
                exec(compile("\n" * block.line + block.text, path, "exec"), vars(module))
            except ModuleNotFoundError as error:
                if (error.name or "").partition(".")[0] not in OPTIONAL:
                    raise
                pytest.skip(f"{location} needs {error.name}, which is not installed")
            printed = capsys.readouterr().out
            assert matches(block.output, printed), f"{location} prints:\n{printed}"
        elif block.language == "py":
            source, _, excerpt = block.text.removeprefix("# ").partition("\n")
            assert excerpt in (ROOT / source).read_text(encoding="utf-8"), f"{location}: {source}"
        elif block.language == "toml":
            configuration.parse_config(tomllib.loads(block.text), folder)
        elif block.language == "c" and shutil.which("gcc"):
            printed = printed_by_c(block.text, folder, location)
            assert matches(block.output, printed), f"{location} prints:\n{printed}"
        elif block.language == "console":
            for command, output in commands(block):
                if command == OFTEN and often.exists():
                    shutil.copytree(often, "runs")
                else:
                    run(command, location)
                if command == OFTEN and not often.exists():
                    shutil.copytree("runs", often)
                printed = capsys.readouterr().out
                assert not output or matches(output, printed), f"{location} prints:\n{printed}"


def printed_by_c(program: str, folder: Path, location: str) -> str:
    (folder / "program.c").write_text(program, encoding="utf-8")
    compile_it = ["gcc", "-std=c99", "-Wall", "-Werror", "-pedantic", "program.c", "-o", "program"]
    for command in ([*compile_it, "-lm"], ["./program"]):
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{location}: {ran.stderr}"
    return ran.stdout


def commands(block: Block) -> Iterator[tuple[list[str], str]]:
    for text in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = text.partition("\n")
        if command.startswith("gpunn "):
            yield shlex.split(command)[1:], output


def run(arguments: list[str], location: str) -> None:
    if any(Path(argument).stem.isupper() for argument in arguments):
        options = {option for each in main.commands[arguments[0]].params for option in each.opts}
        assert {each for each in arguments if each.startswith("-")} <= options, location
        return
    if any(argument.startswith("cupy") for argument in arguments):
        with click.Context(main) as context:
            _, command, rest = main.resolve_command(context, arguments)
            assert command is not None
            command.make_context(command.name, rest, parent=context)
        return
    try:
        main.main(arguments, prog_name="gpunn", standalone_mode=False)
    except click.ClickException as error:
        pytest.fail(f"{location}: gpunn {shlex.join(arguments)}: {error.format_message()}")


def test_every_document_was_found() -> None:
    names = {path.name for path in DOCUMENTS}
    assert names >= {
        "README.md",
        "architecture.md",
        "configuration.md",
        "extending.md",
        "tables.md",
        "tables.zh.md",
        "tutorial.md",
        "tutorial.zh.md",
    }
    assert all(blocks(path) for path in DOCUMENTS if path.name in ("README.md", "tutorial.md"))


@pytest.mark.parametrize("path", TRANSLATIONS, ids=relative)
def test_a_translation_has_the_same_code(path: Path) -> None:
    original = path.with_name(path.name.replace(".zh.", "."))
    assert blocks_alone(path) == blocks_alone(original)


def blocks_alone(path: Path) -> list[tuple[str, str | None, str]]:
    return [(block.language, block.file_name, block.text) for block in blocks(path)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_every_block_is_checked(path: Path) -> None:
    all_blocks = blocks(path)
    assert {block.language for block in all_blocks} <= LANGUAGES
    programs = [block for block in all_blocks if block.language in ("python", "c")]
    outputs = [block.output for block in programs if block.output]
    assert outputs == [block.text for block in all_blocks if block.language == "text"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(path: Path) -> None:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        linked = path.parent / target if target else path
        assert linked.exists(), f"{relative(path)} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in headings}
            assert anchor in slugs, f"{relative(path)} links to {target}#{anchor}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_commands_of_the_repository_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for script in re.findall(r"\./((?:scripts|ci)/\w+\.sh)", text):
        assert os.access(ROOT / script, os.X_OK), script
    for program in re.findall(r"(?<![\w/])((?:scripts|tests)/[\w/]+\.py)", text):
        assert (ROOT / program).exists(), program
    for module in re.findall(r"python -m (tests[\w.]+)", text):
        program = ROOT / module.replace(".", "/")
        program = program / "__main__.py" if program.is_dir() else program.with_suffix(".py")
        assert 'if __name__ == "__main__":' in program.read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extras in re.findall(r"(?:gpunn|\.)\[([\w,-]+)\]", text):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


EXPLANATION = ROOT / "docs" / "explanation"
ARCHITECTURE = (EXPLANATION / "architecture.md").read_text(encoding="utf-8")


def test_files_in_architecture_exist() -> None:
    files = [f"/{relative(path)}" for path in ROOT.glob("gpunn/**/*.*")]
    texts = ARCHITECTURE + (EXPLANATION / "cpu.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/]+\.(?:py|h))`", texts):
        assert any(file.endswith(f"/{name}") for file in files), name


def test_packages_are_listed_in_the_order_of_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    levels = project["tool"]["importlinter"]["contracts"][0]["layers"][1:]  # after __main__
    level_of = {name: i for i, level in enumerate(levels) for name in level.split(" | ")}
    table = ARCHITECTURE.partition("## Packages")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    names = [name for cell in cells for name in re.findall(r"`(\w+)", cell)]
    assert set(names) == set(level_of)
    assert [level_of[name] for name in names] == sorted(level_of[name] for name in names)


def sections() -> dict[str, str]:
    text = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    parts = re.split(r"^##+ (.*)$", FENCE.sub("", text), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(section: str) -> dict[str, list[str]]:
    lines = re.findall(r"^\| `([^`]+)` \|(.*)\|$", sections()[section], re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in lines}


def default_of(text: str) -> Any:
    """Return the value of a cell such as "needed", "none" or "`0.5`"."""
    words = {"needed": ..., "none": None, "true": True, "false": False}
    text = text.strip("`")
    return words[text] if text in words else ast.literal_eval(text)


TABLES = {
    "The top of the file": configuration.Config,
    "`[backend_options]`": configuration.BackendOptions,
    "`[data]`": configuration.DataSet,
    '`dataset = "digits"`': configuration.Digits,
    '`dataset = "mnist"`': configuration.MNIST,
    '`dataset = "images"`': configuration.Images,
    '`dataset = "table"`': configuration.TableFile,
    '`dataset = "csv"`': configuration.CSV,
    '`dataset = "npz"`': configuration.NPZ,
    '`dataset = "npy"`': configuration.NPY,
    "`[model]`": configuration.Model,
    "`[training]`": configuration.Training,
    "`[sweep]`": configuration.Sweep,
}


@pytest.mark.parametrize("section", TABLES)
def test_every_key_is_documented_with_its_default(section: str) -> None:
    table = TABLES[section]
    inherited = set() if table is configuration.DataSet else parameters(configuration.DataSet)
    expected = {key: it for key, it in parameters(table).items() if key not in inherited}
    assert {key: default_of(cells[1]) for key, cells in rows(section).items()} == expected


def test_every_data_set_has_a_section() -> None:
    kinds = set(re.findall(r'^`dataset = "(\w+)"`$', "\n".join(sections()), re.MULTILINE))
    assert kinds == {each.dataset for each in get_args(AnyDataSet)}


KINDS: dict[str, type[Configurable]] = {
    "Layers": gpunn.layers.Layer,
    "Activations": gpunn.activations.Activation,
    "Initializers": gpunn.initializers.Initializer,
    "Losses": gpunn.losses.Loss,
    "Metrics": gpunn.metrics.Metric,
    "Optimizers": gpunn.optimizers.Optimizer,
    "Schedules": gpunn.schedules.Schedule,
    "Callbacks": gpunn.callbacks.Callback,
    "Augmentations": gpunn.augmentations.Augmentation,
}


def parameters(cls: type) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for field in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
        default = ... if field.default is dataclasses.MISSING else field.default
        if field.default_factory is not dataclasses.MISSING:
            made = field.default_factory()
            default = made.name if isinstance(made, Configurable) else made
        result[field.name] = default
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_is_documented_with_its_parameters(kind: str) -> None:
    base = KINDS[kind]
    common = parameters(base)
    built_in = {
        name: cls for name, cls in known(base).items() if cls.__module__.startswith("gpunn.")
    }
    expected = {
        name: {
            key: list(default) if isinstance(default, tuple) else default  # an array in TOML
            for key, default in parameters(cls).items()
            if key not in common or common[key] != default
        }
        for name, cls in built_in.items()
    }
    documented = {
        name: {
            key: default_of(default)
            for key, default in re.findall(r"`(\w+)` (needed|`[^`]*`|[^,\s]+)", cells[0])
        }
        for name, cells in rows(kind).items()
        if name not in common
    }
    assert documented == expected
    if kind == "Optimizers":
        shown = {key: default_of(cells[0]) for key, cells in rows(kind).items() if key in common}
        assert shown == common


def test_the_cheat_sheet_has_every_name() -> None:
    page = (ROOT / "docs" / "reference" / "cheat_sheet.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## Names\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    expected = {
        name
        for kind, base in KINDS.items()
        if kind != "Initializers"
        for name, cls in known(base).items()
        if cls.__module__.startswith("gpunn.")
    }
    assert set(re.findall(r"`(\w+)`", section)) == expected


def test_every_file_of_a_run_is_documented() -> None:
    assert set(rows("What a run leaves behind")) == set(FILES)


def is_missing_package(error: BaseException | None) -> bool:
    if isinstance(error, ModuleNotFoundError):
        return (error.name or "").partition(".")[0] in OPTIONAL
    return isinstance(error, MissingPackageError)


class ExampleRunner(doctest.DocTestRunner):
    """Runs examples; skips a module if an example needs a missing package."""

    def report_unexpected_exception(
        self, out: Any, test: doctest.DocTest, example: doctest.Example, exc_info: Any
    ) -> None:
        if is_missing_package(exc_info[1]):
            pytest.skip(f"{test.name}: {exc_info[1]}")
        super().report_unexpected_exception(out, test, example, exc_info)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str, folder: Path) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not is_missing_package(error):
            raise
        pytest.skip(f"{error.name} is not installed")
    runner = ExampleRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder().find(module, name):
        if {test.name, test.name.rpartition(".")[0]} & PUBLIC:  # like a copied example
            test.globs = {"__name__": "__main__"}
        test.globs |= {"np": np, "gpunn": gpunn}  # as `gpunn.__doc__` says
        runner.run(test)
    result = runner.summarize(verbose=False)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples failed; see above"

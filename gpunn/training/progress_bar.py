"""Progress bars for an epoch, or for training many networks, in terminals and notebooks."""

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from typing import Any

from gpunn.forks import IMPORTING
from gpunn.terminal import is_terminal


def progress_bar(title: str, rows: int, wanted: bool, unit: str = "samples") -> Any:
    # The bar has `update(rows)`, `unpause()`, `set_postfix(...)` and `close()`. If standard error
    # is a file or a pipe, it shows nothing.
    notebook = in_notebook()
    if not wanted or not (notebook or is_terminal(sys.stderr)):
        return NoBar()
    options: dict[str, Any] = {"desc": title, "unit": f" {unit}", "unit_scale": True}
    if notebook and has_widgets():
        with IMPORTING:
            from tqdm.notebook import tqdm as widget

        return widget(total=rows, **options)
    with IMPORTING:
        from tqdm import tqdm

    if notebook:  # a notebook shows standard error as an error
        return tqdm(total=rows, file=Display(), ascii=False, **options)
    return tqdm(total=rows, file=sys.stderr, **options)


def has_widgets() -> bool:
    return importlib.util.find_spec("ipywidgets") is not None


def in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this process."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in getattr(shell, "config", ())


class Display:
    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, shown: Mapping[str, str]) -> None:
        if self._handle is None:
            with IMPORTING:
                display = importlib.import_module("IPython.display").display
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)

    def write(self, text: str) -> None:
        line = text.strip("\r\n")
        if line.strip():
            self.show({"text/plain": line})

    def flush(self) -> None: ...


class NoBar:
    def update(self, rows: int) -> None: ...

    def unpause(self) -> None: ...

    def set_postfix(self, logs: Mapping[str, float], *, refresh: bool = True) -> None: ...

    def close(self) -> None: ...

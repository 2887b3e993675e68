"""A notebook's kernel without one."""

import sys
from types import SimpleNamespace


class Notebook:
    """Stands for IPython in a kernel, and keeps what each display has shown."""

    def __init__(self, monkeypatch):
        self.displays: list[list[dict[str, str]]] = []
        self.config = {"IPKernelApp": {}}
        module = SimpleNamespace(get_ipython=lambda: self)
        monkeypatch.setitem(sys.modules, "IPython", module)
        monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=self.display))

    def display(self, data, *, raw, display_id):
        assert raw
        assert display_id
        shown = [data]
        self.displays.append(shown)
        return SimpleNamespace(update=lambda data, raw: shown.append(data))

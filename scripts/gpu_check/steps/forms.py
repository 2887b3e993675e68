"""Libraries' processes (`speed_form.py`), and what is asked of them."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import device

PROGRAM = Path(__file__).parents[1] / "speed_form.py"

FORMS = {
    "gpunn": "speed_gpunn graph",
    "gpunn, measured products": "speed_gpunn measured",
    "gpunn, one by one": "speed_gpunn eager",
    "PyTorch, graph": "speed_torch graph",
    "PyTorch, compiled, graph": "speed_torch compiled graph",
    "PyTorch, compiled": "speed_torch compiled",
    "PyTorch, eager": "speed_torch eager",
    "JAX, scan": "speed_jax scan",
}
ANSWER = 90.0 * device.PATIENCE
"""Seconds until a library that gives no answer is given up."""

FAILURES = 2
"""Times that a library's process may hang or crash before it isn't started any more."""


class FormError(Exception):
    """Raised where a library fails; the message says how."""


@dataclass
class Form:
    """A library's process, and what it says.

    Attributes
    ----------
    name : str
        A key of `FORMS`.
    library : str
        Its name and version.
    skip : str
        Why it can't be used, or isn't any more, or "".
    failures : int
        How often the process had to be started anew.
    """

    name: str
    library: str = ""
    skip: str = ""
    process: Any = None
    listener: Any = None
    answers: Any = field(default_factory=queue.Queue)
    failures: int = 0

    def begin(self) -> None:
        """Start the process; not in a rehearsal, if the library can't use the emulated device."""
        module, _, mode = FORMS[self.name].partition(" ")
        if device.REHEARSAL and module != "speed_gpunn":
            self.skip = "a rehearsal: it can't use the emulated device"
            return
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), module, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answers = queue.Queue()
        given = self.process.stdout, self.answers
        self.listener = threading.Thread(target=listen, args=given, daemon=True)
        self.listener.start()

    def introduce(self) -> None:
        """Wait until it says what it is."""
        if self.library or self.skip:
            return
        with suppress(FormError):
            said = self.answer()
            self.library, self.skip = said.get("library", ""), said.get("skip", "")

    def ask(self, **question: Any) -> dict[str, Any]:
        """Ask, and return the answer."""
        self.tell(**question)
        return self.answer()

    def tell(self, **question: Any) -> None:
        """Ask, and leave the answer for later."""
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise self.failed(f"the process has ended: {error}") from None

    def answer(self) -> dict[str, Any]:
        """Wait for an answer."""
        try:
            said = self.answers.get(timeout=ANSWER)
        except queue.Empty:
            raise self.failed(f"no answer within {ANSWER:.0f} s") from None
        if said is None:
            raise self.failed(f"the process ended with exit status {self.process.wait()}")
        if "error" in said:
            raise FormError(said["error"])
        return dict(said)

    def failed(self, why: str) -> FormError:
        """Begin with a new process, unless that was done before or this one never began well."""
        self.end()
        self.failures += 1
        if self.library and self.failures < FAILURES:
            self.library = ""
            self.begin()
        else:
            self.skip = f"failed: {why}"
        return FormError(why)

    def end(self) -> None:
        """End the process."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.listener.join()
        with suppress(BrokenPipeError):
            self.process.stdin.close()


def listen(output: Any, answers: Any) -> None:
    """Put all answers of a process into a queue, and None at their end."""
    with output:
        for line in output:
            answers.put(json.loads(line))
    answers.put(None)

"""Processes that fork while another thread imports, predicts or trains."""

import os
import subprocess
import sys

import pytest
import safetensors

import gpunn
from gpunn.forks import IMPORTING

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

BEGINNING = """\
import os, sys, threading, time
import numpy as np
import gpunn, gpunn.forks

gpunn.forks.PATIENCE = 60  # on a busy machine, the import of a large package takes long

def fitted():
    model = gpunn.Sequential([gpunn.layers.Dense(1)], 2, "numpy")
    trainer = gpunn.Trainer(model, "mean_squared_error", "sgd")
    trainer.fit(np.ones((4, 2)), np.ones(4), epochs=3, progress=False)
    return trainer

def forked(work):
    "Fork, do the work in the child, and return its status, or None if it hangs."
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(7)
    for _ in range(10000):
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)

begun, leave = threading.Event(), threading.Event()

def check_child(thread, work):
    "Fork while a thread has begun something, and check that the child can do the work."
    thread.start()
    assert begun.wait(60)
    status = forked(work)
    leave.set()
    thread.join()
    assert status == 7, status
"""

SLOW_IMPORT = """\
class Slow:
    def find_spec(self, name, path, target=None):
        if name == MODULE and not begun.is_set():
            begun.set()
            leave.wait(0.3)

MODULE = sys.argv[1]
sys.meta_path.insert(0, Slow())
work = fitted if sys.argv[2] == "fit" else lambda: gpunn.load_model(sys.argv[3])
if sys.argv[2] != "fit":
    fitted().model.save(sys.argv[3])
check_child(threading.Thread(target=work), work)
"""

HOLDING = """\
from dataclasses import dataclass

@dataclass(eq=False)
class Waiting(gpunn.layers.Layer):
    name = "waiting"

    def forward(self, x, workspace):
        if threading.current_thread() is thread:
            begun.set()
            leave.wait(60)
        return x

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        return gradient

model = gpunn.Sequential([gpunn.layers.Dense(1), Waiting()], 2, "numpy")
trainer = gpunn.Trainer(model, "mean_squared_error", "sgd")
data = np.ones((4, 2)), np.ones(4)
holds = (
    lambda: model.predict(data[0]),
    lambda: trainer.evaluate(*data),
    lambda: trainer.fit(*data, progress=False),
)

def work():
    model.predict(data[0])
    trainer.evaluate(*data)
    trainer.fit(*data, progress=False)

for call in holds:
    thread = threading.Thread(target=call)
    check_child(thread, work)
    begun.clear(), leave.clear()
"""

SHARING = """\
from gpunn.training.sharing import PROGRAMS, sharing_programs

def hold():
    with PROGRAMS._lock:
        begun.set()
        leave.wait(60)

with sharing_programs():
    check_child(threading.Thread(target=hold), fitted)
"""


PAUSING = """\
import gc
from gpunn.backends.collection import COLLECTION

def hold():
    with COLLECTION.pause():
        begun.set()
        leave.wait(60)

def work():
    assert gc.isenabled()

check_child(threading.Thread(target=hold), work)
assert gc.isenabled()
"""

LOCKED = """\
from gpunn.storage.files import FolderLock

lock = FolderLock(sys.argv[1])
reading, writing = os.pipe()
child = os.fork()
if not child:
    os.close(writing)
    os.read(reading, 1)
    os._exit(0)
try:
    FolderLock(sys.argv[1])
    raise AssertionError("the child has let go of its parent's lock")
except BlockingIOError:
    lock.release()
FolderLock(sys.argv[1])
os.close(writing)
os.waitpid(child, 0)
"""


def run(script, *arguments):
    command = [sys.executable, "-W", "ignore", "-c", BEGINNING + script, *map(str, arguments)]
    subprocess.run(command, check=True, timeout=120)


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("gpunn.backends.numpy.compiled.lowerings", "fit"),
        pytest.param("gpunn.backends.numpy.compiled.backend", "fit", marks=pytest.mark.full),
        ("gpunn.training.fit", "fit"),
        ("safetensors", "load"),
        pytest.param("cupy", "load", marks=pytest.mark.full),
    ],
)
def test_a_child_of_a_process_whose_other_thread_imports(module, call, tmp_path):
    run(SLOW_IMPORT, module, call, tmp_path / "model.safetensors")


def test_a_child_of_a_process_whose_other_thread_holds_a_lock():
    run(HOLDING + SHARING)


def test_a_child_collects_garbage_although_another_thread_of_its_parent_records():
    run(PAUSING)


def test_a_child_holds_no_lock_on_a_folder(tmp_path):
    run(LOCKED, tmp_path)


def test_a_fork_waits_for_imports_that_register_for_forks():
    script = """\
import os, sys, threading, time
from gpunn.forks import IMPORTING

def importing():
    with IMPORTING:
        begun.set()
        time.sleep(0.2)
        import concurrent.futures.thread

sys.unraisablehook = lambda unraisable: os._exit(1)
begun = threading.Event()
thread = threading.Thread(target=importing)
thread.start()
begun.wait(60)
if not os.fork():
    os._exit(0)
thread.join()
os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=120)


def test_a_fork_waits_for_the_first_use_of_safetensors(monkeypatch, tmp_path):
    """It imports NumPy behind a lock of its own; the time is too short to fork in it on purpose."""
    held, open_file = [], safetensors.safe_open

    def opened(*arguments, **options):
        held.append(IMPORTING._lock._is_owned())
        return open_file(*arguments, **options)

    monkeypatch.setattr(safetensors, "safe_open", opened)
    model = gpunn.Sequential([gpunn.layers.Dense(1)], 2, "numpy")
    model.save(tmp_path / "model.safetensors")
    gpunn.load_model(tmp_path / "model.safetensors", backend="numpy")
    assert held
    assert all(held)

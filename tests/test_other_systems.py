"""gpunn without POSIX features, as on Windows, as far as Linux can simulate that."""

import os
import sys

from processes import run_python

WITHOUT_POSIX = """
import mmap, os, signal, socket, sys

import numpy  # which checks whether this is Linux

for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
LACKING = {
    os: "fchmod fchown fork forkpty geteuid getgid getloadavg getpgid getuid killpg mkfifo nice "
    "posix_fadvise posix_fallocate pread pwrite register_at_fork sched_getaffinity "
    "sched_setaffinity sched_yield setsid statvfs sysconf O_CLOEXEC O_DIRECTORY O_NOFOLLOW "
    "O_NONBLOCK",
    signal: "SIGALRM SIGHUP SIGKILL SIGUSR1 SIGUSR2 pthread_sigmask setitimer sigwait",
    socket: "AF_UNIX",
    mmap: "MADV_DONTNEED MADV_HUGEPAGE MAP_ANONYMOUS MAP_PRIVATE PROT_READ PROT_WRITE",
}
for module, names in LACKING.items():
    for name in names.split():
        vars(module).pop(name, None)

system_open = os.open


def open_file(path, *arguments, **options):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    return system_open(path, *arguments, **options)


os.open = open_file

from gpunn.storage import files

files.POSIX = False
"""

IMPORTS = """
import importlib, pkgutil

OPTIONAL = ("cupy", "llvmlite", "matplotlib", "mpi4py", "numba", "onnx", "sklearn")
count = 0
for module in pkgutil.walk_packages(sys.modules["gpunn"].__path__, "gpunn."):
    try:
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            count += 1
    except ImportError as error:
        if (error.name or "").split(".")[0] not in OPTIONAL:
            raise
print(count)
"""

COMMANDS = """
sys.modules["numba"] = sys.modules["llvmlite"] = None  # there are no compiled kernels
os.environ["GPUNN_KERNELS"] = "off"

from pathlib import Path
from gpunn.cli import main

Path("digits.toml").write_text('''
[data]
dataset = "digits"
[model]
layers = [{ name = "dense", units = 10 }]
[training]
loss = "softmax_cross_entropy"
optimizer = "adam"
epochs = 2
''')


def gpunn(*arguments):
    main(arguments, standalone_mode=False)


gpunn("train", "digits.toml", "--output", "run")
gpunn("train", "digits.toml", "--output", "run", "--resume", "--set", "training.epochs=3")
gpunn("evaluate", "run")
gpunn("example", "loans.csv")
briefly = ("--target", "loan_status", "--set", "training.epochs=1")
gpunn("train", "loans.csv", "--output", "loans", *briefly)
gpunn("predict", "loans", "loans.csv", "--output", "predictions.csv")
gpunn("export", "loans", "--python", "predictor.py")
"""


def test_commands_do_their_work_and_every_module_can_be_imported(tmp_path):
    variables = {"PYTHONPATH": os.pathsep.join(sys.path), "GPUNN_BACKEND": "numpy"}
    program = WITHOUT_POSIX + COMMANDS + IMPORTS
    done = run_python("-c", program, cwd=tmp_path, env=os.environ | variables)
    assert int(done.stdout.splitlines()[-1]) > 250
    assert (tmp_path / "run/final.safetensors").exists()
    assert (tmp_path / "predictions.csv").read_text().count("\n") > 900
    assert (tmp_path / "predictor.py").exists()

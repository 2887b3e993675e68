"""Kernels translated by gpunn's passes are the same machine code as by numba's own pipeline."""

import os

import pytest
from processes import run_python

from gpunn.backends.numpy.compiled.targets import VARIABLE, runnable_targets

pytest.importorskip("numba")

OBJECTS = """
from hashlib import sha256
from gpunn.backends.numpy.compiled.building import objects
from gpunn.backends.numpy.compiled.kernels import pipeline
{}
parts = objects.parts()  # without SSA, the code of "convolution" differs
for name in ("convolution", "pool"):
    print(name, sha256(parts[name]()).hexdigest())
"""

NUMBAS_OWN = """
from numba.core.compiler import Compiler
pipeline.KernelCompiler.define_pipelines = Compiler.define_pipelines
pipeline.remember_types = lambda context: None
"""


@pytest.mark.full  # compiling the objects takes seconds
def test_machine_code_is_as_by_numbas_own_pipeline():
    environment = {**os.environ, VARIABLE: runnable_targets()[0].name}
    ours, numbas = (
        run_python("-c", OBJECTS.format(text), env=environment).stdout for text in ("", NUMBAS_OWN)
    )
    assert ours == numbas
    assert ours.count("\n") == 2

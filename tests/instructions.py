"""Traced results as instructions of compiled kernels."""

from gpunn.backends.numpy.compiled.expressions import Lowered
from gpunn.expressions import ARRAY, in_order


def instructions_of(writes, dtype, threads):
    nodes = in_order([write.node for write in writes])
    arrays = [write.array for write in writes] + [n.data for n in nodes if n.op == ARRAY]
    arrays = list({id(each): each for each in arrays}.values())
    return Lowered(arrays, writes, dtype, threads).instructions(arrays)

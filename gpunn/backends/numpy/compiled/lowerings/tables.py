"""Layers of tabular models: categories, embeddings, members' factors, and products by groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpunn.backends.numpy.compiled.lowerings.activations import divided_columns, kernel_arguments
from gpunn.backends.numpy.compiled.lowerings.base import Steps, present, same_kind
from gpunn.backends.numpy.compiled.lowerings.dense import Dense
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.numpy.compiled.sums import sum_rows
from gpunn.backends.recording import Arguments
from gpunn.typing import Array

__all__ = ["Tables"]


class Tables(Dense):
    """Categories, embeddings of numbers, members' factors, and products by groups."""

    def copy_columns(self, ask: Arguments) -> Steps:
        source, out = ask.source, ask.out
        if not same_kind(source, out) or not source.size:
            return None
        rows, width = source.shape
        args = [source, ask.first, width, out, ask.out_first, out.shape[1], rows, ask.columns]
        return [Instruction("copy_columns", args, [source], [out], [source, out])]

    def one_hot(self, ask: Arguments) -> Steps:
        codes, levels, out = ask.codes, ask.levels, ask.out
        if not same_kind(codes, levels, out) or not codes.size:
            return None
        lengths = np.array(ask.sizes, np.int64)
        shared = np.array([ask.binary_as_sign and size == 3 for size in ask.sizes], np.int64)
        read = [codes, lengths, shared, levels]
        args = [*read, out, *codes.shape, out.shape[1], out[0].nbytes]
        return [Instruction("one_hot", args, read, [out], [codes, out])]

    def embed(self, ask: Arguments) -> Steps:
        codes, table, out = ask.codes, ask.table, ask.out
        if not same_kind(codes, table, out) or not codes.size:
            return None
        read = [codes, *sizes_and_starts(ask.sizes), table]
        args = [*read, out, *codes.shape, table[0].nbytes]
        return [Instruction("embed", args, read, [out], [codes, out])]

    def embed_gradient(self, ask: Arguments) -> Steps:
        codes, table_gradient = ask.codes, ask.table_gradient
        if not same_kind(codes, ask.gradient, table_gradient) or not codes.size:
            return None
        rows, dimension = table_gradient.shape
        read = [codes, *sizes_and_starts(ask.sizes), ask.gradient]
        args = [*read, table_gradient, *codes.shape, dimension, rows]
        return [Instruction("embed_gradient", args, read, [table_gradient])]

    def scale(self, ask: Arguments) -> Steps:
        x, factors, out = ask.x, ask.factors, ask.out
        if not same_kind(x, factors, out) or not x.size:
            return None
        args = [x, factors, out, *rows_members_features(x, factors)]
        return [Instruction("scale", args, [x, factors], [out], [x, out])]

    def scale_gradient(self, ask: Arguments) -> Steps:
        x, read = ask.x, [ask.x, ask.factors, ask.gradient]
        if not same_kind(*ask.arrays) or not x.size:
            return None
        sizes = rows_members_features(x, ask.factors)
        args = [*read, ask.factors_gradient, ask.input_gradient, *sizes]
        written = present(ask.factors_gradient, ask.input_gradient)
        return [Instruction("scale_gradient", args, read, written)]

    def parametric_activate(self, ask: Arguments) -> Steps:
        x, alpha, out = ask.x, ask.alpha, ask.out
        kernel_args = kernel_arguments(ask.activation)
        if kernel_args is None or not same_kind(x, alpha, out) or not x.size:
            return None
        number, *parameters = kernel_args
        by_columns = self.products.is_by_columns(x)
        self.products.divide(out, by_columns)
        shape = divided_columns(x) if by_columns else (len(x), alpha.size, 0)
        args = [number, x, None, out, *shape, *parameters, alpha]
        by_rows = [] if by_columns else [x, out]
        return [Instruction("activate", args, [x, alpha], [out], by_rows)]

    def parametric_activation_gradient(self, ask: Arguments) -> Steps:
        x, alpha, gradient, sums = ask.x, ask.alpha, ask.gradient, ask.alpha_gradient
        kernel_args = kernel_arguments(ask.activation)
        if kernel_args is None or not same_kind(*ask.arrays) or not x.size:
            return None
        number, *parameters = kernel_args
        shape = divided_columns(x)
        by_rows: list[Array] = []
        afterwards = []
        if 1 < self.threads <= len(x) and not self.products.is_by_columns(gradient):
            # Each thread sums its rows.
            sums = np.empty((self.threads, alpha.size), x.dtype)
            afterwards.append(sum_rows(sums, ask.alpha_gradient))
            shape, by_rows = (len(x), alpha.size, 0), [x, gradient]
        from_output = ask.activation.from_output
        args = [number, x, gradient, sums, *shape, *parameters, alpha, from_output]
        read, written = [x, alpha, gradient], [gradient, sums]
        return [Instruction("activation_gradient", args, read, written, by_rows), *afterwards]

    def periodic(self, ask: Arguments) -> Steps:
        x, frequencies, phases, out = ask.x, ask.frequencies, ask.phases, ask.out
        if not same_kind(*ask.arrays) or not x.size:
            return None
        args = [x, frequencies, phases, out, *x.shape, frequencies.shape[1]]
        return [Instruction("periodic", args, present(x, frequencies, phases), [out], [x, out])]

    def periodic_gradient(self, ask: Arguments) -> Steps:
        read = [ask.x, ask.frequencies, ask.phases, ask.gradient]
        sums = [ask.frequencies_gradient, ask.phases_gradient]
        if ask.input_gradient is not None or not same_kind(*ask.arrays) or not ask.x.size:
            return None
        args = [*read, *sums, *ask.x.shape, ask.frequencies.shape[1]]
        return [Instruction("periodic_gradient", args, present(*read), present(*sums))]

    def piecewise_linear(self, ask: Arguments) -> Steps:
        x, out, read = ask.x, ask.out, [ask.x, ask.starts, ask.slopes, ask.lowest, ask.highest]
        if not same_kind(*ask.arrays) or not x.size:
            return None
        args = [*read, out, *x.shape, ask.starts.shape[1]]
        return [Instruction("piecewise_linear", args, read, [out], [x, out])]

    def group_matmul(self, ask: Arguments) -> Steps:
        if not same_kind(*ask.arrays) or not ask.a.size * ask.b.size:
            return None
        return self.products.encode_groups(**vars(ask))

    def group_dense(self, ask: Arguments) -> Steps:
        return self.forward(ask, self.products.encode_groups)


def rows_members_features(x: Array, factors: Array) -> tuple[int, int, int]:
    """Return rows, members and features for the kernels of members' factors.

    The kernels require that all members share the rows of x. If each member has its own row, this
    treats all features of all members as one member.
    """
    rows, members = x.shape[:2]
    if members == 1:
        return rows, len(factors), factors[0].size
    return rows, 1, factors.size


def sizes_and_starts(sizes: Sequence[int]) -> tuple[Array, Array]:
    """Return the sizes of vertically stacked tables, and the first row of each."""
    lengths = np.array(sizes, np.int64)
    return lengths, np.cumsum(lengths) - lengths

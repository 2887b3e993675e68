"""Instructions for layers of tabular models: embeddings, one-hot codes, ensemble members."""

from collections.abc import Sequence

import numpy as np

from gpunn.backends.numpy.compiled.lowerings.activations import divided_columns, kernel_arguments
from gpunn.backends.numpy.compiled.lowerings.base import Steps, present, same_kind
from gpunn.backends.numpy.compiled.lowerings.dense import Dense
from gpunn.backends.numpy.compiled.program import Instruction, sum_rows
from gpunn.backends.recording import Arguments
from gpunn.typing import Array


class Tables(Dense):
    def copy_columns(self, op: Arguments) -> Steps:
        source, out = op.source, op.out
        if not same_kind(source, out) or not source.size:
            return None
        rows, width = source.shape
        args = [source, op.first, width, out, op.out_first, out.shape[1], rows, op.columns]
        return [Instruction("copy_columns", args, [source], [out], [source, out])]

    def one_hot(self, op: Arguments) -> Steps:
        codes, levels, out = op.codes, op.levels, op.out
        if not same_kind(codes, levels, out) or not codes.size:
            return None
        lengths = np.array(op.sizes, np.int64)
        shared = np.array([op.binary_as_sign and size == 3 for size in op.sizes], np.int64)
        read = [codes, lengths, shared, levels]
        args = [*read, out, *codes.shape, out.shape[1], out[0].nbytes]
        return [Instruction("one_hot", args, read, [out], [codes, out])]

    def embed(self, op: Arguments) -> Steps:
        codes, table, out = op.codes, op.table, op.out
        if not same_kind(codes, table, out) or not codes.size:
            return None
        read = [codes, *sizes_and_starts(op.sizes), table]
        args = [*read, out, *codes.shape, table[0].nbytes]
        return [Instruction("embed", args, read, [out], [codes, out])]

    def embed_gradient(self, op: Arguments) -> Steps:
        codes, table_gradient = op.codes, op.table_gradient
        if not same_kind(codes, op.gradient, table_gradient) or not codes.size:
            return None
        rows, dimension = table_gradient.shape
        read = [codes, *sizes_and_starts(op.sizes), op.gradient]
        args = [*read, table_gradient, *codes.shape, dimension, rows]
        return [Instruction("embed_gradient", args, read, [table_gradient])]

    def scale(self, op: Arguments) -> Steps:
        x, factors, out = op.x, op.factors, op.out
        if not same_kind(x, factors, out) or not x.size:
            return None
        args = [x, factors, out, *rows_members_features(x, factors)]
        return [Instruction("scale", args, [x, factors], [out], [x, out])]

    def scale_gradient(self, op: Arguments) -> Steps:
        x, read = op.x, [op.x, op.factors, op.gradient]
        if not same_kind(*op.arrays) or not x.size:
            return None
        sizes = rows_members_features(x, op.factors)
        args = [*read, op.factors_gradient, op.input_gradient, *sizes]
        written = present(op.factors_gradient, op.input_gradient)
        return [Instruction("scale_gradient", args, read, written)]

    def parametric_activate(self, op: Arguments) -> Steps:
        x, alpha, out = op.x, op.alpha, op.out
        kernel_args = kernel_arguments(op.activation)
        if kernel_args is None or not same_kind(x, alpha, out) or not x.size:
            return None
        number, *parameters = kernel_args
        by_columns = self.products.is_by_columns(x)
        self.products.divide(out, by_columns)
        shape = divided_columns(x) if by_columns else (len(x), alpha.size, -1)
        args = [number, x, None, out, *shape, *parameters, alpha]
        by_rows = [] if by_columns else [x, out]
        return [Instruction("activate", args, [x, alpha], [out], by_rows)]

    def parametric_activation_gradient(self, op: Arguments) -> Steps:
        x, alpha, gradient, sums = op.x, op.alpha, op.gradient, op.alpha_gradient
        kernel_args = kernel_arguments(op.activation)
        if kernel_args is None or not same_kind(*op.arrays) or not x.size:
            return None
        number, *parameters = kernel_args
        shape = divided_columns(x)
        by_rows: list[Array] = []
        afterwards = []
        if 1 < self.threads <= len(x) and not self.products.is_by_columns(gradient):
            # Each thread has a separate sum of its rows.
            sums = np.empty((self.threads, alpha.size), x.dtype)
            afterwards.append(sum_rows(sums, op.alpha_gradient))
            shape, by_rows = (len(x), alpha.size, -1), [x, gradient]
        from_output = op.activation.from_output
        args = [number, x, gradient, sums, *shape, *parameters, alpha, from_output]
        read, written = [x, alpha, gradient], [gradient, sums]
        return [Instruction("activation_gradient", args, read, written, by_rows), *afterwards]

    def periodic(self, op: Arguments) -> Steps:
        x, frequencies, phases, out = op.x, op.frequencies, op.phases, op.out
        if not same_kind(*op.arrays) or not x.size:
            return None
        args = [x, frequencies, phases, out, *x.shape, frequencies.shape[1]]
        return [Instruction("periodic", args, present(x, frequencies, phases), [out], [x, out])]

    def periodic_gradient(self, op: Arguments) -> Steps:
        read = [op.x, op.frequencies, op.phases, op.gradient]
        sums = [op.frequencies_gradient, op.phases_gradient]
        if op.input_gradient is not None or not same_kind(*op.arrays) or not op.x.size:
            return None
        args = [*read, *sums, *op.x.shape, op.frequencies.shape[1]]
        return [Instruction("periodic_gradient", args, present(*read), present(*sums))]

    def piecewise_linear(self, op: Arguments) -> Steps:
        x, out, read = op.x, op.out, [op.x, op.starts, op.slopes, op.lowest, op.highest]
        if not same_kind(*op.arrays) or not x.size:
            return None
        args = [*read, out, *x.shape, op.starts.shape[1]]
        return [Instruction("piecewise_linear", args, read, [out], [x, out])]

    def group_matmul(self, op: Arguments) -> Steps:
        if not same_kind(*op.arrays) or not op.a.size * op.b.size:
            return None
        return self.products.encode_groups(**vars(op))

    def group_dense(self, op: Arguments) -> Steps:
        return self.forward(op, self.products.encode_groups)


def rows_members_features(x: Array, factors: Array) -> tuple[int, int, int]:
    # If each member has separate rows, the features of all members become features of one member.
    rows, members = x.shape[:2]
    if members == 1:
        return rows, len(factors), factors[0].size
    return rows, 1, factors.size


def sizes_and_starts(sizes: Sequence[int]) -> tuple[Array, Array]:
    lengths = np.array(sizes, np.int64)
    return lengths, np.cumsum(lengths) - lengths

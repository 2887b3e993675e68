"""Layers for tables: codes, embeddings of numbers, factors of members, products by groups."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpunn import activations
from gpunn.activations import Activation
from gpunn.backends.numpy.compiled.forms.activations import (
    Activations,
    arguments_of,
    divided_columns,
)
from gpunn.backends.numpy.compiled.forms.base import Steps, same_kind
from gpunn.backends.numpy.compiled.program import Instruction
from gpunn.backends.numpy.compiled.sums import sum_rows
from gpunn.typing import Array

__all__ = ["Tables"]


class Tables(Activations):
    """Codes, embeddings of numbers, factors of members, and products by groups."""

    def copy_columns(
        self, source: Array, first: int, out: Array, out_first: int, columns: int
    ) -> Steps:
        if not same_kind(source, out) or not source.size:
            return None
        rows, width = source.shape
        args = [source, first, width, out, out_first, out.shape[1], rows, columns]
        return [Instruction("copy_columns", args, [source], [out], [source, out])]

    def one_hot(
        self,
        codes: Array,
        sizes: Sequence[int],
        binary_as_sign: bool,
        levels: Array,
        out: Array,
    ) -> Steps:
        if not same_kind(codes, levels, out) or not codes.size:
            return None
        lengths = np.array(sizes, np.int64)
        shared = np.array([binary_as_sign and size == 3 for size in sizes], np.int64)
        args = [codes, lengths, shared, levels, out, *codes.shape, out.shape[1], out[0].nbytes]
        read = [codes, lengths, shared, levels]
        return [Instruction("one_hot", args, read, [out], [codes, out])]

    def embed(self, codes: Array, sizes: Sequence[int], table: Array, out: Array) -> Steps:
        if not same_kind(codes, table, out) or not codes.size:
            return None
        lengths, starts = places_of(sizes)
        args = [codes, lengths, starts, table, out, *codes.shape, table[0].nbytes]
        return [Instruction("embed", args, [codes, lengths, starts, table], [out], [codes, out])]

    def embed_gradient(
        self, codes: Array, sizes: Sequence[int], gradient: Array, table_gradient: Array
    ) -> Steps:
        if not same_kind(codes, gradient, table_gradient) or not codes.size:
            return None
        (lengths, starts), (rows, dimension) = places_of(sizes), table_gradient.shape
        args = [codes, lengths, starts, gradient, table_gradient, *codes.shape, dimension, rows]
        read = [codes, lengths, starts, gradient]
        return [Instruction("embed_gradient", args, read, [table_gradient])]

    def scale(self, x: Array, factors: Array, out: Array) -> Steps:
        if not same_kind(x, factors, out) or not x.size:
            return None
        args = [x, factors, out, *rows_members_features(x, factors)]
        return [Instruction("scale", args, [x, factors], [out], [x, out])]

    def scale_gradient(
        self,
        x: Array,
        factors: Array,
        gradient: Array,
        factors_gradient: Array,
        input_gradient: Array | None,
    ) -> Steps:
        own = [factors_gradient] if input_gradient is None else [factors_gradient, input_gradient]
        if not same_kind(x, factors, gradient, *own) or not x.size:
            return None
        sizes = rows_members_features(x, factors)
        args = [x, factors, gradient, factors_gradient, input_gradient, *sizes]
        return [Instruction("scale_gradient", args, [x, factors, gradient], own)]

    def parametric_activate(
        self, activation: Activation, x: Array, alpha: Array, out: Array
    ) -> Steps:
        known = arguments_of(activation)
        if known is None or not same_kind(x, alpha, out) or not x.size:
            return None
        number, *parameters = known
        by_columns = self.products.is_by_columns(x)
        self.products.divide(out, by_columns)
        shape = divided_columns(x) if by_columns else (len(x), alpha.size, 0)
        args = [number, x, None, out, *shape, *parameters, alpha]
        by_rows = [] if by_columns else [x, out]
        return [Instruction("activate", args, [x, alpha], [out], by_rows)]

    def parametric_activation_gradient(
        self,
        activation: Activation,
        x: Array,
        alpha: Array,
        gradient: Array,
        alpha_gradient: Array,
    ) -> Steps:
        known = arguments_of(activation)
        if known is None or not same_kind(x, alpha, gradient, alpha_gradient) or not x.size:
            return None
        number, *parameters = known
        shape, sums = divided_columns(x), alpha_gradient
        by_rows: list[Array] = []
        afterwards = []
        if 1 < self.threads <= len(x) and not self.products.is_by_columns(gradient):
            # Each thread sums its own rows.
            sums = np.empty((self.threads, alpha.size), x.dtype)
            afterwards.append(sum_rows(sums, alpha_gradient))
            shape, by_rows = (len(x), alpha.size, 0), [x, gradient]
        args = [number, x, gradient, sums, *shape, *parameters, alpha, activation.from_output]
        read, written = [x, alpha, gradient], [gradient, sums]
        return [Instruction("activation_gradient", args, read, written, by_rows), *afterwards]

    def periodic(self, x: Array, frequencies: Array, phases: Array | None, out: Array) -> Steps:
        read = [x, frequencies] if phases is None else [x, frequencies, phases]
        if not same_kind(*read, out) or not x.size:
            return None
        args = [x, frequencies, phases, out, *x.shape, frequencies.shape[1]]
        return [Instruction("periodic", args, read, [out], [x, out])]

    def periodic_gradient(
        self,
        x: Array,
        frequencies: Array,
        phases: Array | None,
        gradient: Array,
        frequencies_gradient: Array,
        phases_gradient: Array | None,
        input_gradient: Array | None,
    ) -> Steps:
        read, own = [x, frequencies, gradient], [frequencies_gradient]
        if phases is not None:
            read.append(phases)
        if phases_gradient is not None:
            own.append(phases_gradient)
        if input_gradient is not None or not same_kind(*read, *own) or not x.size:
            return None
        args = [x, frequencies, phases, gradient, frequencies_gradient, phases_gradient]
        sizes = [*x.shape, frequencies.shape[1]]
        return [Instruction("periodic_gradient", [*args, *sizes], read, own)]

    def piecewise_linear(
        self, x: Array, starts: Array, slopes: Array, lowest: Array, highest: Array, out: Array
    ) -> Steps:
        lines = [starts, slopes, lowest, highest]
        if not same_kind(x, *lines, out) or not x.size:
            return None
        args = [x, *lines, out, *x.shape, starts.shape[1]]
        return [Instruction("piecewise_linear", args, [x, *lines], [out], [x, out])]

    def group_matmul(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> Steps:
        if not same_kind(a, b, out) or not a.size * b.size:
            return None
        return [self.products.encode_groups(a, b, out, transpose_a, transpose_b)]

    def group_dense(
        self,
        x: Array,
        weights: Array,
        bias: Array | None,
        activation: Activation,
        z: Array,
        out: Array,
    ) -> Steps:
        if not same_kind(x, weights, z, *([] if bias is None else [bias])) or not x.size:
            return None
        rectified = type(activation) is activations.ReLU
        if out is z and (rectified or type(activation) is activations.Identity):
            floor = 0.0 if rectified else -math.inf
            return [self.products.encode_groups(x, weights, out, bias=bias, floor=floor)]
        activated = self.activate(activation, z, None, out)
        if activated is None:
            return None
        return [self.products.encode_groups(x, weights, z, bias=bias), *activated]


def rows_members_features(x: Array, factors: Array) -> tuple[int, int, int]:
    """Return the sizes of a product of members that take the same row of x.

    Those of members with a row each are one member with all features.
    """
    rows, members = x.shape[:2]
    if members == 1:
        return rows, len(factors), factors[0].size
    return rows, 1, factors.size


def places_of(sizes: Sequence[int]) -> tuple[Array, Array]:
    """Return the sizes of tables that lie one below the other, and where each begins."""
    lengths = np.array(sizes, np.int64)
    return lengths, np.cumsum(lengths) - lengths

"""Functions of rows as Python functions with NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gpunn.expressions import ELEMENTARY, NUMBER, Node
from gpunn.interchange.expressions.rows import RowFunction
from gpunn.interchange.expressions.texts import (
    ARITHMETIC,
    ATOM,
    COMPARISON,
    PRODUCT,
    SUM,
    Form,
    Language,
    call,
    named,
    prefix,
    statements,
)
from gpunn.interchange.predictor.python_printer import definition, number_of

SOFTPLUS = "np.maximum({0}, 0) + np.log1p(np.exp(-np.abs({0})))"

FORMS: Mapping[str, Form] = {
    **ARITHMETIC,
    **{name: call(f"np.{name}") for name in (*ELEMENTARY, "abs", "floor", "sign")},
    "and": Form("{0} & {1}", COMPARISON, ATOM, ATOM),
    "as_number": Form("{0}.astype(x.dtype)", ATOM, ATOM),
    "maximum": Form("np.maximum({0}, {1})"),
    "minimum": Form("np.minimum({0}, {1})"),
    "not": prefix("~"),
    "or": Form("{0} | {1}", COMPARISON, ATOM, ATOM),
    "round": call("np.rint"),
    "sigmoid": Form("1 / (1 + np.exp(-{0}))", PRODUCT, ATOM),
    "softplus": named(SOFTPLUS, SUM),
    "tanh_softplus": named(f"np.tanh({SOFTPLUS})"),
    "where": Form("np.where({0}, {1}, {2})"),
}


def reduction(function: str) -> Callable[[Node], Form]:
    return lambda node: Form(f"np.{function}({{0}}, axis=-1)")


def placed(node: Node) -> Form:
    after = node.shape[-1] - node.data - node.args[0].shape[-1]
    widths = "(0, 0), " * len(node.shape) + f"({node.data}, {after})"
    return Form(f"np.pad({{0}}, ({widths}))")


SHAPED: Mapping[str, Callable[[Node], Form]] = {
    "broadcast": lambda node: Form(f"np.broadcast_to({{0}}, (len(x), *{node.shape}))"),
    "columns": lambda node: Form(f"{{0}}[..., {node.data[0]}:{node.data[1]}]", ATOM, ATOM),
    "placed": placed,
    "reshape": lambda node: Form(f"np.reshape({{0}}, {(-1, *node.shape)})"),
    "row_maximum": reduction("max"),
    "row_minimum": reduction("min"),
    "row_sum": reduction("sum"),
}


def numpy_source(function: RowFunction, name: str) -> str:
    lines, result = statements(function.result, LANGUAGE)
    return definition(function, name, "np.ndarray", [*lines, f"return {result}"])


def form_of(node: Node) -> Form:
    if node.op in SHAPED:
        return SHAPED[node.op](node)
    if node.op == "where" and all(each.op == NUMBER for each in node.args[1:]):
        return Form("np.where({0}, {1}, {2}).astype(x.dtype)")
    return FORMS[node.op]


LANGUAGE = Language(form_of, number_of("np"))

"""The steps of a loop: its nodes, some of which are joined."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gpunn.backends.numpy.compiled import interface
from gpunn.expressions import Node, Stage, base_of

__all__ = ["Step", "steps_of"]

NUMBERS = {name: k for k, name in enumerate(interface.EXPRESSION_FUNCTIONS)} | {
    "row_sum": interface.ROW_SUM,
    "row_maximum": interface.ROW_MAXIMUM,
    "row_minimum": interface.ROW_MINIMUM,
    "column_sum": interface.COLUMN_SUM,
}


@dataclass
class Step:
    """A function of the kernel, its arguments, and the node that it computes."""

    node: Node
    function: int
    args: tuple[Node, ...]
    once: bool
    """Whether the step computes one number, before the loop."""


def steps_of(stage: Stage, stored: set[int]) -> list[Step]:
    """Return the steps of a stage; a product that only one sum uses becomes one step with it."""
    nodes = [*stage.once, *stage.nodes]
    uses = Counter(id(base_of(each)) for node in nodes for each in node.args)
    steps: dict[int, Step] = {}
    for k, node in enumerate(nodes):
        function, args = node.op, node.args
        product = next(
            (
                position
                for position, each in enumerate(args)
                if each.op == "multiply" and uses[id(each)] == 1 and id(each) in steps
            ),
            None,
        )
        if function in ("add", "subtract") and product is not None:
            factors = args[product]
            if id(factors) not in stored:
                args = (*factors.args, args[1 - product])
                with_product = ("multiply_subtract", "subtract_product")[product]
                function = "multiply_add" if function == "add" else with_product
                del steps[id(factors)]
        steps[id(node)] = Step(node, NUMBERS[function], args, k < len(stage.once))
    return list(steps.values())

"""The blocks that a drawing of a network shows for its layers."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from gpunn.configurable import Configurable
from gpunn.drawing import Block, Branch
from gpunn.layers.base import Layer
from gpunn.layers.block import Block as BlockLayer
from gpunn.layers.chain import Chain
from gpunn.layers.columns import ColumnGroups
from gpunn.layers.ensemble import Ensemble
from gpunn.layers.members import Members
from gpunn.typing import Shape


def outline(
    labels: Sequence[str], layers: Sequence[Layer], input_shape: Shape, frozen: bool = False
) -> list[Block]:
    blocks, shape, members = [], input_shape, 0
    for label, layer in zip(labels, layers, strict=True):
        learned = [spec for spec in layer.declared(shape) if spec.learned]
        count = sum(math.prod(spec.shape) for spec in learned)
        still = bool(learned) and (frozen or not any(spec.trainable for spec in learned))
        inside = branches(layer, shape, frozen or not layer.trainable)
        shape = layer.output_shape(shape)
        members = layer.count if isinstance(layer, Members) else members
        many = members if len(shape) == 2 and shape[0] == members else 0
        detail = described(layer, label)
        blocks.append(
            Block(label, detail, str(shape), count, still, many, layer.after_loss, inside)
        )
    return blocks


def inner_layers(layer: Layer, shape: Shape) -> Iterator[tuple[str, int, Layer, Shape]]:
    known = set[str]()
    for call in layer.traced(shape).calls() if isinstance(layer, BlockLayer) else ():
        pairs, given = [(call.name, call.layer)], call.inputs[0].shape[1:]
        if isinstance(call.layer, Chain):
            children = call.layer.children().items()
            pairs = [(f"{call.name}.{label}", child) for label, child in children]
        for name, inner in pairs:
            output = inner.output_shape(given)
            if name not in known:
                known.add(name)
                yield name, 1, inner, output
                for label, depth, part, after in inner_layers(inner, given):
                    yield f"{name}.{label}", depth + 1, part, after
            given = output


def numbers_of_row(layer: Layer, shape: Shape) -> int:
    if isinstance(layer, Chain):
        numbers = 0
        for child in layer:
            numbers += numbers_of_row(child, shape)
            shape = child.output_shape(shape)
        return numbers
    groups = layer.parts if isinstance(layer, ColumnGroups) else ()
    return math.prod(layer.output_shape(shape)) + sum(
        group.width + numbers_of_row(group.chain, (group.width,))
        for group in groups
        if group.chain is not None
    )


def branches(layer: Layer, shape: Shape, frozen: bool) -> list[Branch]:
    if isinstance(layer, ColumnGroups):
        drawn, counts = [], layer.counts if isinstance(layer, Ensemble) else None
        for index, group in enumerate(layer.parts):
            last = group.stop - 1
            title = f"columns {group.start} to {last}" if last > group.start else f"column {last}"
            title += f", {counts[index]} times" if counts and counts[index] > 1 else ""
            unchanged = [Block("unchanged", shape=str((group.width,)))]
            inner = within(group.chain, (group.width,), frozen) if group.chain else unchanged
            drawn.append(Branch(title, inner))
        return drawn
    if isinstance(layer, BlockLayer):
        return branches_of(layer, shape, frozen)
    if isinstance(layer, Chain):
        return [Branch("", within(layer, shape, frozen))]
    children = layer.children()  # custom layers don't describe the inner layers' shapes
    return [Branch("", [Block(label, described(it, label))]) for label, it in children.items()]


def branches_of(block: BlockLayer, shape: Shape, frozen: bool) -> list[Branch]:
    calls = block.traced(shape).calls()
    drawn = []
    for title, layer in block._drawn():
        frozen_inside = frozen or not (layer and layer.trainable)
        inputs = [call.inputs[0].shape[1:] for call in calls if call.layer is layer]
        inner = [Block("unchanged", shape=str(shape))]
        if inputs and isinstance(layer, Chain):
            inner = within(layer, inputs[0], frozen_inside)
        elif inputs:
            inner = outline([layer.name], [layer], inputs[0], frozen_inside)
        elif layer:  # the block calls the layer's inner layers one by one
            ones = [call for call in calls if call.name.startswith(f"{title}.")]
            inner = [
                block
                for call in ones
                for block in outline(
                    [call.name.removeprefix(f"{title}.")],
                    [call.layer],
                    call.inputs[0].shape[1:],
                    frozen_inside,
                )
            ]
        title += f", {len(inputs)} calls" if len(inputs) > 1 else ""
        drawn += [Branch(title, inner)] if inner else []
    return drawn


def within(chain: Chain, shape: Shape, frozen: bool) -> list[Block]:
    children = chain.children()
    return outline(list(children), list(children.values()), shape, frozen)


def described(layer: Layer, label: str) -> str:
    name = "" if label.startswith(layer.name) else layer.name
    activation: Any = getattr(layer, "activation", None)
    if isinstance(activation, Configurable):
        activation = activation.name
    rate = getattr(layer, "rate", None)
    words = [
        name,
        getattr(layer, "joined", ""),
        activation if isinstance(activation, str) and activation != "identity" else "",
        f"rate {rate:g}" if isinstance(rate, float) else "",
    ]
    return ", ".join(word for word in words if word)

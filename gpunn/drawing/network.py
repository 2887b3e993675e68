"""Draws a network: its layers from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpunn.drawing.svg import INK, MUTED, PAGE, Canvas, Drawing

FILL = {True: "#e6eefc", False: "#f1f3f6"}
"""The colors of layers with trained parameters, and of all other layers."""

MAX_LAYERS = 40

BRANCHES = 6

HEIGHT, GAP, PADDING, FOOT = 40, 30, 12, 18
"""Height of a layer, gap between layers, padding of a frame, height of a branch's last shape."""

LETTER, BOLD, STACK = 7.0, 8.7, 6.0
"""Approximate width of a letter and of a bold letter, and offset of stacked members."""


@dataclass(frozen=True)
class Block:
    label: str
    detail: str = ""
    shape: str = ""
    parameters: int = 0
    frozen: bool = False
    members: int = 0
    after_loss: bool = False
    branches: Sequence[Branch] = ()


@dataclass(frozen=True)
class Branch:
    title: str
    blocks: Sequence[Block] = ()


def network_drawing(input_shape: str, blocks: Sequence[Block], total: int, text: str) -> Drawing:
    canvas = Canvas()
    width = max(sequence_width(shortened(blocks)), 200.0)
    left, top = 16.0, 14.0
    center = left + width / 2
    canvas.text(center, top + 14, f"input {input_shape}", anchor="middle", color=MUTED)
    y = top + 20
    canvas.arrow(center, y, y + GAP)
    y = draw_sequence(canvas, shortened(blocks), left, y + GAP, width)
    canvas.arrow(center, y, y + GAP)
    canvas.text(center, y + GAP + 16, "output", anchor="middle", color=MUTED)
    last = next((block.shape for block in reversed(blocks) if block.shape), "")
    canvas.text(center + 8, y + GAP / 2 + 4, last, color=MUTED)
    canvas.text(
        center, y + GAP + 36, f"{total:,} parameters", anchor="middle", color=INK, weight=600
    )
    return Drawing(canvas.svg(width + 2 * left, y + GAP + 50, "Layers of a network", text), text)


def shortened(blocks: Sequence[Block]) -> list[Block]:
    if len(blocks) <= MAX_LAYERS:
        return list(blocks)
    half = MAX_LAYERS // 2
    omitted = blocks[half:-half]
    count = sum(block.parameters for block in omitted)
    between = Block(f"{len(omitted)} more layers", "", omitted[-1].shape, count)
    return [*blocks[:half], between, *blocks[-half:]]


def drawn_branches(block: Block) -> list[Branch]:
    if len(block.branches) <= BRANCHES:
        return list(block.branches)
    omitted = len(block.branches) - BRANCHES + 1
    return [*block.branches[: BRANCHES - 1], Branch(f"{omitted} more groups")]


def words(block: Block) -> tuple[str, str]:
    count = f"{block.parameters:,} parameters" if block.parameters else ""
    count += ", frozen" if block.frozen else ""
    members = f"{block.members} members" if block.members else ""
    return block.label, " · ".join(part for part in (block.detail, members, count) if part)


def block_width(block: Block) -> float:
    label, detail = words(block)
    text = max(BOLD * len(label), LETTER * len(detail)) + 2 * PADDING
    inner = sum(branch_width(branch) + PADDING for branch in drawn_branches(block))
    return max(140.0, text, inner + PADDING if inner else 0.0)


def branch_width(branch: Branch) -> float:
    return max(LETTER * len(branch.title) + 8, sequence_width(branch.blocks), 90.0)


def sequence_width(blocks: Sequence[Block]) -> float:
    return max((block_width(block) for block in blocks), default=0.0)


def block_height(block: Block) -> float:
    if not block.branches:
        return float(HEIGHT)
    inner = max(
        sum(block_height(each) + GAP for each in branch.blocks) for branch in drawn_branches(block)
    )
    return HEIGHT + 22 + inner + FOOT + PADDING


def draw_sequence(
    canvas: Canvas, blocks: Sequence[Block], left: float, y: float, width: float
) -> float:
    center = left + width / 2
    plain = max((block_width(block) for block in blocks if not block.branches), default=0.0)
    for index, block in enumerate(blocks):
        size = block_width(block) if block.branches else plain
        if index:
            canvas.text(center + 8, y + GAP / 2 + 4, blocks[index - 1].shape, color=MUTED)
            canvas.arrow(center, y, y + GAP - (STACK if block.members else 0))
            y += GAP
        draw_block(canvas, block, center - size / 2, y, size)
        y += block_height(block)
    return y


def draw_block(canvas: Canvas, block: Block, x: float, y: float, width: float) -> None:
    height = block_height(block)
    trained = block.parameters > 0 and not block.frozen
    for offset in (STACK, STACK / 2) if block.members else ():  # members form a stack
        canvas.box(x + offset, y - offset, width, height, FILL[trained])
    fill = PAGE if block.branches else FILL[trained]
    canvas.box(x, y, width, height, fill, dashed=block.after_loss)
    label, detail = words(block)
    center = x + width / 2
    middle = y + (17 if detail else 25)
    canvas.text(center, middle, label, anchor="middle", weight=600)
    canvas.text(center, y + 32, detail, anchor="middle", color=MUTED, size=11.5)
    branches = drawn_branches(block)
    if not branches:
        return
    widths = [branch_width(branch) for branch in branches]
    spare = (width - sum(widths) - PADDING * (len(widths) + 1)) / len(widths)
    left = x + PADDING
    for branch, minimum in zip(branches, widths, strict=True):
        size = minimum + spare
        canvas.text(
            left + size / 2, y + HEIGHT + 14, branch.title, anchor="middle", color=MUTED, size=11.5
        )
        if branch.blocks:
            top = y + HEIGHT + 20
            canvas.arrow(left + size / 2, top, top + GAP - 2)
            end = draw_sequence(canvas, branch.blocks, left, top + GAP - 2, size)
            shape = branch.blocks[-1].shape
            canvas.text(left + size / 2, end + FOOT - 4, shape, anchor="middle", color=MUTED)
        left += size + PADDING

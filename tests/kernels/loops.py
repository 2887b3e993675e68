"""Find loads, stores and fused arithmetic of kernels, in the PTX from NVRTC."""

from __future__ import annotations

import re
from collections.abc import Iterator

LABEL = re.compile(r"^(\$\w+):")
BRANCH = re.compile(r"\bbra(?:\.uni)?\s+(\$\w+);")
STORE = re.compile(r"\bst\.global[.\w]*\s+\[(%\w+)")
LOAD = re.compile(r"\bld\.global\.(?!nc)[.\w]*\s+%\w+, \[(%\w+)")
END = re.compile(r"\$\w+:|(?:@!?%\w+\s+)?(?:atom|bar|barrier|bra|fence|membar|ret)\b")
DEFINED = re.compile(r"^(?:@!?%\w+\s+)?[\w.]+\s+\{?(%\w+)")


def innermost_loops(lines: list[str]) -> Iterator[list[str]]:
    """Yield the lines of each innermost loop, from a label to the branch back to it."""
    labels = {match[1]: at for at, line in enumerate(lines) if (match := LABEL.match(line))}
    spans = [
        (labels[match[1]], at)
        for at, line in enumerate(lines)
        if (match := BRANCH.search(line)) and labels[match[1]] <= at
    ]
    for first, last in spans:
        if not any((a, b) != (first, last) and first <= a and b <= last for a, b in spans):
            yield lines[first : last + 1]


def adds_up_in_memory(lines: list[str]) -> bool:
    """Return whether a loop of a kernel stores to the same address each time."""
    for loop in innermost_loops(lines):
        defined = {match[1] for line in loop if (match := DEFINED.match(line))}
        if any(match[1] not in defined for line in loop if (match := STORE.search(line))):
            return True
    return False


def straight_parts(lines: list[str]) -> Iterator[list[str]]:
    """Yield the lines between labels, branches, barriers, fences and atomic operations."""
    part = list[str]()
    for line in lines:
        if END.match(line):
            yield part
            part = []
        else:
            part.append(line)
    yield part


def loads_that_wait(lines: list[str]) -> int:
    """Count the loads that may read the memory of an earlier store.

    The store is in the same innermost loop or in the same of the `straight_parts`. Not counted are
    loads that the compiler can move before stores: non-coherent loads, and loads from the address
    register of a store at another offset.
    """
    count = 0
    for part in (*innermost_loops(lines), *straight_parts(lines)):
        stores = set[str]()
        for line in part:
            if match := STORE.search(line):
                stores.add(match[1])
            elif (match := LOAD.search(line)) and stores - {match[1]}:
                count += 1
    return count


def multiplies_and_adds(lines: list[str]) -> int:
    """Count the instructions that multiply and add floating-point numbers with one rounding."""
    return sum(bool(re.match(r"(?:@!?%\w+\s+)?fma\.", line)) for line in lines)

"""Which kernels compute in double precision, read from what the compiler made of them.

The text of a kernel is no witness: CuPy's headers and preambles name ``double`` in overloads that a
float32 kernel never calls, and ``x * 0.5`` is double precision without the word. g++'s GIMPLE
listing, after inlining, has one typed variable for each value that is really computed.
"""

from __future__ import annotations

import re

FUNCTION = re.compile(r"^;; Function .*?\((\S+), funcdef_no=", re.M)
IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
DOUBLE = re.compile(r"\bdouble\b")


def functions_using_double(listing: str, roots: list[str]) -> set[str]:
    """Those of ``roots`` (C symbols) that use ``double`` or call a function that does."""
    pieces = FUNCTION.split(listing)[1:]
    bodies = dict(zip(pieces[::2], pieces[1::2], strict=True))
    return {root for root in roots if _reaches_double(root, bodies)}


def _reaches_double(root: str, bodies: dict[str, str]) -> bool:
    seen, pending = set[str](), [root]
    while pending:
        name = pending.pop()
        if name in seen or name not in bodies:
            continue
        seen.add(name)
        if DOUBLE.search(bodies[name]):
            return True
        pending.extend(IDENTIFIER.findall(bodies[name]))
    return False

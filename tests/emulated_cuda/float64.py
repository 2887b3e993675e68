"""Find kernels that compute in double precision, from the compiler's listing.

The text of a kernel is not enough. CuPy's headers and preambles name ``double`` in overloads that a
float32 kernel never calls. And ``x * 0.5`` is double precision without the word. After inlining,
the GIMPLE listing of g++ has one typed variable for each computed value.
"""

import re

FUNCTION = re.compile(r"^;; Function .*?\((\S+), funcdef_no=", re.M)
IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
DOUBLE = re.compile(r"\bdouble\b")


def functions_using_double(listing: str, roots: list[str]) -> set[str]:
    """The C symbols among ``roots`` that use ``double``, directly or in a called function."""
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

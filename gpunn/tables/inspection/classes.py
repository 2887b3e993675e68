"""Classes of the target that have too few rows."""

from __future__ import annotations

from collections.abc import Iterator

from gpunn.meaning import plural
from gpunn.tables.inspection.finding import Finding
from gpunn.tables.inspection.sample import Sample

SMALL = 10
"""Classes with fewer rows are reported. If 20 % of the rows are test rows, at most one row of such
a class is a test row."""


def small_classes(sample: Sample) -> Iterator[Finding]:
    for target in sample.targets:
        small = [(text, count) for text, count in target.counts if count < SMALL]
        if not target.has_classes or target.is_label or len(target.counts) < 2 or not small:
            continue
        text, count = small[-1]
        found = (
            f"{plural(len(small), 'class')} of the target {'has' if len(small) == 1 else 'have'} "
        )
        found += f"fewer than {SMALL} rows; {text!r:.40} has only {plural(count, 'row')}"
        yield Finding(
            target.name,
            found,
            "The network hardly learns such a class, and the test split has few or no rows of it.",
            "Collect more rows of the class, merge it with a similar class, or remove its rows",
        )

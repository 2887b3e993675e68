"""Figures of metrics over all rows, as batches add up to them."""

import numpy as np


def summary_of(backend, metric, p, t, w, parts=3):
    """Return the summary over so many batches, or over those that end where `parts` says."""
    summary = backend.zeros((metric.size(p.shape[1]),), "float64")
    for rows in np.array_split(np.arange(len(p)), parts):
        if len(rows):
            backend.metric(metric, *(backend.from_host(a[rows]) for a in (p, t, w)), summary)
    return backend.to_host(summary)


def figure_of(backend, metric, p, t, w, parts=3):
    return metric.result(summary_of(backend, metric, p, t, w, parts), float(w.sum()))

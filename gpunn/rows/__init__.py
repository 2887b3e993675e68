"""From bytes to rows, cells and predictions: exports copy this code, so it needs only Python."""

"""Files of arrays and JSON: read within size limits, verified, and written atomically."""

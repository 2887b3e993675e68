"""Files of arrays and JSON: read within size limits, verified, and written atomically.

This package does not depend on networks or training.
"""

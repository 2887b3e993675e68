"""Files of arrays and JSON: opened within bounds, verified, written whole or not at all.

Nothing here knows of networks or training.
"""

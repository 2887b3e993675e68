"""Train many networks at the same time, compare them, and resume them."""

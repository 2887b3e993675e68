"""Graphs of traced functions of rows, and what all languages share in printing them."""

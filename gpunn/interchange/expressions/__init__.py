"""Traced functions of rows as graphs, and the parts of printing that all languages share."""

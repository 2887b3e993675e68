"""Functions of a row as graphs, and the parts of printing that all languages share.

An activation, or what a custom layer computes, is traced as an `Expression`. `rows` converts it to
a `RowFunction`, which `gpunn.interchange.predictor` prints as source code.
"""

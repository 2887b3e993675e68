"""Functions of a row as graphs, and what printing them has in common in all languages.

An activation, or what a custom layer computes, is traced as an `Expression`. `rows` makes a
`RowFunction` of it, which `gpunn.interchange.predictor` prints as source code.
"""

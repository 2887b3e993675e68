"""Functions of a row as graphs, and the parts of printing that all languages share.

Activations and custom layers are traced as an `Expression`, which `rows` converts to a
`RowFunction`, which `gpunn.interchange.predictor` prints as source code.
"""

"""From bytes to rows, cells and predictions, with only the standard library.

Training, evaluation, `gpunn predict` and exported Python files use these modules. Exports contain
copies of their source.
"""

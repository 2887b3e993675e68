"""From bytes to cells, and what cells mean, in the standard library alone.

Training, evaluation, `gpunn predict` and exported Python files read rows by these modules; exports
carry copies of their text.
"""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunn.config import toml_text
from gpunn.errors import ArgumentError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # found faster than by `codec`
PLAIN = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_what_is_written_is_read(value):
    assert tomllib.loads(f"value = {toml_text(value)}") == {"value": value}


@pytest.mark.parametrize("value", [None, [1, None], {"a": b""}])
def test_what_toml_has_not(value):
    with pytest.raises(ArgumentError, match="expected a string, a number"):
        toml_text(value)

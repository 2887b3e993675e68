"""A table with a column of each kind, and gaps in some."""

PEOPLE = {
    "age": [31.0, 45.0, None, 28.0],
    "city": ["Oslo", "Rome", "Oslo", "?"],
    "member": [True, False, True, True],
    "since": ["2024-01-31", "2025-06-01 13:30", None, "2025-06-01"],
}

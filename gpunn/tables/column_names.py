"""What the names of columns reveal about their values."""

import re
import shlex

WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

IDENTIFIERS = frozenset(("id", "ids", "pid", "uid", "uuid", "guid"))
"""Words with which names of identifiers begin or end."""

OWNERS = re.compile(
    "(account|client|customer|device|driver|employee|family|group|hospital|household|machine|member"
    "|participant|patient|person|player|school|session|site|store|student|subject|user)s?"
    "(id|key|code|no|nr|nbr|num|number)?|(case|cust|item|loan|order|product|subj)(id|no|nr|number)"
)

TIMES = frozenset(("date", "datetime", "timestamp"))
"""Last words of names of columns whose numbers are the times of rows, such as 20260531."""

PERIODS = TIMES | {"year", "quarter", "month", "week", "day"}
"""Last words of names of columns whose numbers are times or parts of times."""

CODES = frozenset(
    ("code", "codes", "zip", "zipcode", "postal", "postcode", "postalcode", "pincode")
)
"""Last words of names of columns whose integers are codes. (A column zip_count has no codes.)"""


def words_of(name: str) -> list[str]:
    return [word.lower() for word in WORDS.findall(name)] or [""]


def is_named_as_identifier(name: str) -> bool:
    words = words_of(name)
    named = not IDENTIFIERS.isdisjoint((words[0], words[-1]))
    return named or OWNERS.fullmatch("".join(words)) is not None


def is_named_as_time(name: str) -> bool:
    return words_of(name)[-1] in TIMES


def is_named_as_period(name: str) -> bool:
    words = words_of(name)
    return words[-1] in PERIODS or words == ["time"]


def is_named_as_code(name: str) -> bool:
    words = words_of(name)
    return words[-1] in CODES or not {"plz", "cep"}.isdisjoint(words)


def quoted(name: str) -> str:
    if re.fullmatch(r"[\w.-]+", name):
        return name
    # Outside of Unix, shells support only double quotes.
    return shlex.quote(name) if {*'"$`\\!'} & {*name} else f'"{name}"'

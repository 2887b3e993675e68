"""Formats of numbers in text: decimal commas, thousands separators, units."""

import re
from collections.abc import Sequence

from gpunn.rows.cells import is_code
from gpunn.rows.formats import AMOUNT, CURRENCIES, DURATION, MINUTES, SIGNS, without_groups

APOSTROPHES, SPACES = "'\u2019", " \u00a0\u202f"
BETWEEN = APOSTROPHES + SPACES

COMMA_LIKE = re.compile(r"[-+]?\d+,\d+")

# A group of three digits and a decimal mark.
GROUPED = re.compile(rf"[-+]?\d{{1,3}}(?:(?:[,{BETWEEN}]\d{{3}})+\.|(?:[.{BETWEEN}]\d{{3}})+,)\d+")
GROUPED_OR_NOT = re.compile(rf"[-+]?\d{{1,3}}(?:[,.{BETWEEN}]?\d{{3}})*(?:[.,]\d+)?")

GROUPS_ONLY = re.compile(rf"[-+]?[1-9]\d{{0,2}}(?:([,.{BETWEEN}])\d{{3}})(?:\1\d{{3}})*")
"""Matches groups of three digits without a decimal mark."""

AMBIGUOUS = re.compile(r"[-+]?[1-9]\d{0,2}[,.]\d{3}")
"""Matches a number whose mark may be a decimal mark or a thousands separator."""

MONEY = {*SIGNS} - {"%"} | {f"{code} " for code in CURRENCIES}

MIN_NUMBERS = 3


def decimal_commas(texts: Sequence[str]) -> bool:
    return bool(texts) and all(map(COMMA_LIKE.fullmatch, texts))


def with_thousands(texts: Sequence[str]) -> str | None:
    # Telephone numbers do not count as numbers: all of them have the same number of groups of
    # digits, and no commas or apostrophes.
    if not all(map(GROUPED_OR_NOT.fullmatch, texts)):
        return None
    if match := next(filter(GROUPED.fullmatch, texts), None):
        return match
    match = next(filter(GROUPS_ONLY.fullmatch, texts), None)
    if match is None:
        return None
    groups = {len(re.findall(r"\d+", text)) for text in texts}
    return match if len(groups) > 1 or set(match) & {",", *APOSTROPHES} else None


def format_of_numbers(texts: Sequence[str], chosen: bool) -> tuple[str, str]:
    # The format is "" without a unit, and for several, except hours and minutes. Unless `chosen` by
    # the user, it is also "" for codes such as "007 kg", and for fewer than `MIN_NUMBERS` different
    # numbers with a word, such as "2WD" and "4WD".
    amounts = amounts_in(texts)
    units = {(before, after) for before, _, after in amounts}
    if len(units) != 1:
        durations = list(map(DURATION.fullmatch, texts))
        has_both = any(each and each[1] and each[2] for each in durations)
        return MINUTES if has_both and all(durations) else "", ""
    ((before, after),) = units
    numbers = [number for _, number, _ in amounts]
    is_word = not before and after not in SIGNS
    few = is_word and len(set(numbers)) < MIN_NUMBERS
    if (few or any(map(is_code, numbers))) and not chosen:
        return "", ""
    mark, is_sure = decimal_mark(numbers, bool({before, after} & MONEY))
    if not mark:
        return "", ""
    form = f"{before}0{mark}0{' ' if after not in ('', '%') else ''}{after}"
    position = next((k for k, number in enumerate(numbers) if AMBIGUOUS.fullmatch(number)), 0)
    doubt = (
        f"{texts[position]!r} was read as {without_groups(numbers[position], mark)}; if this is "
        "wrong, write such numbers with a decimal point and without thousands separators"
    )
    return form, "" if is_sure else doubt


def amounts_in(texts: Sequence[str]) -> list[tuple[str, str, str]]:
    matches = [match for match in map(AMOUNT.fullmatch, texts) if match]
    found = [(match[2], match[1] + match[3].rstrip(), match[4] or "") for match in matches]
    is_complete = len(found) == len(texts) and all(before or after for before, _, after in found)
    return found if is_complete else []


def decimal_mark(numbers: Sequence[str], is_money: bool) -> tuple[str, bool]:
    # If exactly three digits follow every mark, the mark may separate thousands. Such a mark is a
    # thousands separator if it is a comma, if the numbers are amounts of money, or if all numbers
    # without a mark are below 1000.
    fitting = [mark for mark in ".," if all(without_groups(each, mark) for each in numbers)]
    marked = [number for number in numbers if {*number} & {*".,"}]
    if len(fitting) < 2 or not marked:
        return (fitting or [""])[0], True
    used, other = (".,", ",.")["," in marked[0]]
    plain = [number.lstrip("+-") for number in numbers if number not in marked]
    has_small = bool(plain) and all(len(number) <= 3 for number in plain)
    is_comma = used == ","
    if is_money or is_comma or has_small:
        return other, is_money or (is_comma and has_small)
    return used, False


def units_of(texts: Sequence[str]) -> dict[str, str]:
    # A unit needs `MIN_NUMBERS` numbers. Strings like codes, such as "12A", have no units.
    units: dict[str, str] = {}
    for text, (before, number, after) in zip(texts, amounts_in(texts), strict=False):
        unit = before + after
        if is_code(number) or (unit not in SIGNS and len(unit) < 2 and " " not in text):
            return {}
        units.setdefault(unit, text)
    return units if len(texts) >= MIN_NUMBERS * len(units) or {*units} <= {*SIGNS} else {}

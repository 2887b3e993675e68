"""Formats of cells: numbers with a unit, dates with the year last, times; exports copy this source.

For a column of numbers with a unit, the format is the spelling of zero, such as "$0.0" or "0,0 kg".
The mark between the two zeros is the decimal mark. The format of dates or times is one of
`DATE_FORMATS`.
Other columns have the format "".
"""

from __future__ import annotations

import re

from gpunn.rows.cells import date_of, number_of

DATE_FORMATS = ("day/month/year", "month/day/year", "hour:minute")

SIGNS = "$\u20ac\xa3\xa5\u20b9%"  # dollar, euro, pound, yen, rupee, per cent

CURRENCIES = (
    *("USD", "EUR", "GBP", "CHF", "JPY", "CNY", "INR", "AUD", "CAD", "NZD", "SEK", "NOK", "DKK"),
    *("PLN", "CZK", "HUF", "BRL", "MXN", "ZAR", "KRW", "SGD", "HKD", "TRY", "RUB"),
)

GROUP_MARKS = "'\u2019 \xa0\u202f"
"""Characters that separate groups of digits, in addition to a comma or a point."""

AMOUNT = re.compile(
    rf"([-+]?)([{SIGNS}]|(?:{'|'.join(CURRENCIES)}) |) ?([-+]?[.,]?\d[\d.,{GROUP_MARKS}]*)"
    rf"([{SIGNS}]|(?:\xb0|[^\W\d_])(?:[^\W\d_]|/){{0,9}}[23]?)?"
)
"""Matches a sign, a unit, a number, and a unit after it, such as kg, km/h, m2 or a degree sign."""

DURATION = re.compile(
    r"(?=\d)(?:(\d{1,9}) ?h(?:(?:ou)?rs?)?)?(?:(?:,? |(?<=h)|^)(\d{1,9}) ?m(?:in(?:ute)?s?)?)?",
    re.ASCII | re.IGNORECASE,
)
"""Matches hours, minutes, or both, such as 11h 56m, 2 hours and 45 min."""

MINUTES = "0.0 min"
"""The format of numbers of minutes, which may also be written as durations."""

LATE_YEAR = re.compile(r"(\d\d?)([./-])(\d\d?)\2(\d{4})(?:[ T](\d.*))?", re.ASCII)

TIME = re.compile(r"(\d\d?)(:\d\d.*?)?(?: ?([ap])\.?m\.?)?", re.ASCII | re.IGNORECASE)
"""Matches a time of day such as 9:30, 21:30:15, 9:30 pm and 9 a.m., and also a number of hours."""

GROUPED = {
    mark: re.compile(
        rf"[-+]?(?:\d+|[1-9]\d{{0,2}}(?:[{other}{GROUP_MARKS}]\d{{3}})+|(?=[.,]))(?:[{mark}]\d+)?"
    )
    for mark, other in ((".", ","), (",", "."))
}
"""For each decimal mark, the pattern of numbers that may have groups of three digits."""


def in_standard_form(cell: str, form: str) -> str | None:
    """Convert a cell in the format `form` to a plain number or ISO date.

    If `form` is a format of numbers and the cell has another unit, return None. Return all
    other cells that are not in the format unchanged.
    """
    if form in DATE_FORMATS:
        plain = with_year_first(cell, form)
        return cell if date_of(plain) is None else plain
    duration = DURATION.fullmatch(cell) if form == MINUTES else None
    if duration:
        return f"{60 * int(duration[1] or 0) + int(duration[2] or 0)}"
    amount = None if number_of(cell) is not None else AMOUNT.fullmatch(cell)
    if amount is None or not (amount[2] or amount[4]):
        return cell
    before, mark, after = parts_of_format(form)
    if (before, after) != (amount[2], amount[4] or ""):
        return None
    return without_groups(amount[1] + amount[3].rstrip(), mark) or cell


def parts_of_format(form: str) -> tuple[str, str, str]:
    mark = "," if "0,0" in form else "."
    before, _, after = form.partition(f"0{mark}0")
    return before, mark, after.strip()


def without_groups(number: str, mark: str) -> str | None:
    if GROUPED[mark].fullmatch(number) is None:
        return None
    plain = "".join(each for each in number if each in "+-" or each.isdecimal() or each == mark)
    return plain.replace(mark, ".")


def with_year_first(cell: str, form: str) -> str:
    if form == "hour:minute":
        time = None if "-" in cell else with_24_hours(cell)  # 9:00-17:00 is no offset from UTC
        return cell if time is None else f"1970-01-01 {time}"
    date = LATE_YEAR.fullmatch(cell)
    if date is None:
        return cell
    first, _, second, year, time = date.groups()
    day, month = (first, second) if form == DATE_FORMATS[0] else (second, first)
    plain = f"{year}-{month:0>2}-{day:0>2}"
    return plain if time is None else f"{plain} {with_24_hours(time)}"


def with_24_hours(text: str) -> str | None:
    time = TIME.fullmatch(text)
    hour, rest, half = time.groups() if time else ("", None, None)
    if not (rest or half):
        return None
    if half and 1 <= int(hour) <= 12:
        hour = f"{int(hour) % 12 + 12 * (half in 'pP')}"
    elif half:
        return None
    return f"{hour:0>2}{rest or ':00'}"

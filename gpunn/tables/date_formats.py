"""Formats of dates in text with the year last, and of times of day."""

import re
from collections.abc import Sequence

from gpunn.rows.cells import date_of
from gpunn.rows.formats import DATE_FORMATS, LATE_YEAR, in_standard_form, with_24_hours

DATE_LIKE = re.compile(rf"\d{{1,2}}[./-]\d{{1,2}}[./-]\d{{2,4}}|{LATE_YEAR.pattern}", re.ASCII)

YEARS = re.compile(r"\d\d(\d\d)[-/](\d\d)", re.ASCII)
"""Matches a season such as 2010-11, and also a month."""


def are_seasons(texts: Sequence[str]) -> bool:
    years = list(map(YEARS.fullmatch, texts))
    return bool(texts) and all(each and (int(each[1]) + 1) % 100 == int(each[2]) for each in years)


def format_of_dates(texts: Sequence[str]) -> str:
    late = parts_above_12(texts)
    if sum(late) == 1:
        form = DATE_FORMATS[late.index(True)]
    elif all(map(is_time, texts)) and not all(text[:2] == "1:" for text in texts):
        return "hour:minute"  # but 1:10 and 1:50 may be dilutions, scales or odds
    else:
        return ""
    return form if all(date_of(in_standard_form(text, form) or "") for text in texts) else ""


def is_time(text: str) -> bool:
    time = in_standard_form(text, "hour:minute") if with_24_hours(text) else None
    return time is not None and date_of(time) is not None


def parts_above_12(texts: Sequence[str]) -> list[bool]:
    """Return whether any date's first part is > 12, and whether any date's second part is > 12.

    The list is empty if there are no strings, or if a string is not a date such as 31.5.2026.
    """
    dates = [date for date in map(LATE_YEAR.fullmatch, texts) if date]
    if len(dates) < len(texts) or not texts:
        return []
    return [any(int(date[group]) > 12 for date in dates) for group in (1, 3)]


def remark_on_dates(texts: Sequence[str]) -> str:
    if not texts or format_of_dates(texts) or not all(map(DATE_LIKE.fullmatch, texts)):
        return ""
    if parts_above_12(texts) == [False, False]:
        return (
            f"dates such as {texts[0]!r} may begin with the day or with the month: choose "
            "--column NAME=day/month/year or --column NAME=month/day/year"
        )
    return f"dates such as {texts[0]!r} are not supported: write the year first (2026-05-31)"

"""Dates and times as numbers: year, month, days and hour, and places in their cycles."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

__all__ = ["CYCLES", "PARTS", "cycle_of"]

HOUR = 3600 * 10**6
"""Microseconds."""


def year(dates: np.ndarray) -> np.ndarray:
    """Return the years of `datetime64[us]`."""
    years: np.ndarray = dates.astype("datetime64[Y]").astype(np.int64) + 1970
    return years


def month(dates: np.ndarray) -> np.ndarray:
    """Return the months, 1 to 12."""
    months: np.ndarray = dates.astype("datetime64[M]").astype(np.int64) % 12 + 1
    return months


def day(dates: np.ndarray) -> np.ndarray:
    """Return the days of the month, 1 to 31."""
    since_first = dates.astype("datetime64[D]") - dates.astype("datetime64[M]")
    days: np.ndarray = since_first.astype(np.int64) + 1
    return days


def weekday(dates: np.ndarray) -> np.ndarray:
    """Return the days of the week, from 0 for Monday to 6."""
    days = dates.astype("datetime64[D]").astype(np.int64)
    weekdays: np.ndarray = (days + 3) % 7  # 1 January 1970 was a Thursday
    return weekdays


def hour(dates: np.ndarray) -> np.ndarray:
    """Return the hours, from 0 to below 24; half past one is 1.5."""
    hours: np.ndarray = (dates - dates.astype("datetime64[D]")).astype(np.int64) / HOUR
    return hours


PARTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "year": year,
    "month": month,
    "day": day,
    "day of week": weekday,
    "hour": hour,
}

CYCLES = {"month": 12, "day of week": 7, "hour": 24}
"""After how many the parts begin again."""


def cycle_of(part: np.ndarray, period: float) -> tuple[np.ndarray, np.ndarray]:
    """Return sine and cosine of 2 pi part / period, by which 23 o'clock is near midnight."""
    angle = part * (2 * math.pi / period)
    return np.sin(angle), np.cos(angle)

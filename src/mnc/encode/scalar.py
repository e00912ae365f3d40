"""BSON's dates and regular expressions as text, for subjects and payloads alike.

A date is what `DatetimeConversion.DATETIME_AUTO` decodes it to: a naive datetime in UTC, or a
DatetimeMS where Python's years, 1 to 9999, don't reach.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from bson.datetime_ms import DatetimeMS

__all__ = ["from_millis", "iso_date", "millis", "regex_options", "seconds"]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - BSON decodes dates to naive datetimes in UTC
_MILLISECOND = timedelta(milliseconds=1)
_LAST_ISO_MS = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z: relaxed Extended JSON writes ISO 8601 from 1970 up to here."""

_OPTIONS = {
    "i": re.IGNORECASE,
    "l": re.LOCALE,
    "m": re.MULTILINE,
    "s": re.DOTALL,
    "u": re.UNICODE,
    "x": re.VERBOSE,
}
"""BSON's letters in its own, alphabetical, order."""


def iso_date(date: datetime | DatetimeMS) -> str | None:
    """Write `date` as the Go driver does, or return None outside the years 1970 to 9999.

    Up to three fraction digits, no trailing zeros among them, and none for a whole second.
    """
    if isinstance(date, DatetimeMS):
        if not 0 <= int(date) <= _LAST_ISO_MS:
            return None
        date = _EPOCH + int(date) * _MILLISECOND
    if date.year < _EPOCH.year:
        return None
    text = date.isoformat()
    return f"{text.rstrip('0')}Z" if date.microsecond else f"{text}Z"


def millis(date: datetime | DatetimeMS) -> int:
    """Return the milliseconds since 1970, negative before it."""
    return int(date) if isinstance(date, DatetimeMS) else (date - _EPOCH) // _MILLISECOND


def seconds(date: datetime) -> float:
    """Return the seconds since 1970, to the millisecond that BSON has."""
    return (date - _EPOCH).total_seconds()


def from_millis(value: int) -> datetime | DatetimeMS:
    """Return the date that is `value` milliseconds after 1970 began."""
    try:
        return _EPOCH + value * _MILLISECOND
    except OverflowError:
        return DatetimeMS(value)


def regex_options(flags: int) -> str:
    """Return the letters of a BSON regular expression's options, sorted."""
    return "".join(letter for letter, flag in _OPTIONS.items() if flags & flag)

"""Fields of a configuration, and the checks of their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import field
from functools import partial
from typing import Any

from kacflow import _arguments

LARGE = 2**53  #: Integers up to here are exact as floating-point numbers, too.

Check = Callable[[str, Any], Any]


def option(default: Any, text: str, check: Check | Iterable[str] = _arguments.flag) -> Any:
    """A field: its default, its help, and the check or the names of what it may be if no flag."""
    choices = None
    if not callable(check):
        choices = tuple(check)
        check = partial(_arguments.choice, allowed=choices)
    return field(default=default, metadata={"help": text, "check": check, "choices": choices})


def whole(least: int, most: int = LARGE) -> Check:
    return partial(_arguments.integer, least=least, most=most)


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _arguments.wrong_type(name, value, "a str")
    good = value and "\0" not in value
    _arguments.must(good, name, repr(value), "a name or path that is not empty")
    return value


def key(name: str, value: Any) -> str:
    return "" if isinstance(value, str) and not value else text(name, value)


def channels(name: str, value: Any) -> int:
    number = _arguments.integer(name, value)
    _arguments.must(number in (1, 3), name, number, "1 or 3")
    return number


def dashed(name: str, value: Any, words: tuple[str, ...] = ()) -> str:
    """Up to ten whole numbers with dashes between them, or one of the words."""
    allowed = ", or ".join(("one to ten integers >= 1 such as '2-1'", *map(repr, words)))
    if not isinstance(value, str):
        raise _arguments.wrong_type(name, value, allowed)
    if value not in words and not re.fullmatch("[1-9][0-9]{0,4}(-[1-9][0-9]{0,4}){0,9}", value):
        raise ValueError(f"{name}: got {value[:80]!r}; allowed: {allowed}")
    return value


def positive_or_inf(name: str, value: Any) -> float:
    return _arguments.real(name, value, "a float > 0, or inf", lambda number: number > 0.0)

"""Texts that spreadsheets would compute, where they are written into files for people."""

from typing import Final

_BEGINS: Final = ("=", "+", "-", "@", "\t", "\r")


def disarmed(text: str) -> str:
    """A text as spreadsheets show it, with an apostrophe before what they would take for a formula."""
    return f"'{text}" if text.startswith(_BEGINS) else text

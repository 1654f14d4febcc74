"""What people may have done from pages: each form calls one duty, with the fields that it may tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Form:
    """A form; `<form method="post" action="/do/<name>">`, with `back` for the page that comes next.

    Attributes:
        duty: What is called.
        fields: Texts that it may tell; empty ones are left out.
        flags: What is said or not said, as by a checkbox.
        lists: Texts that the duty takes as lists.
    """

    duty: str
    fields: tuple[str, ...]
    flags: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


FORMS: Final[Mapping[str, Form]] = {
    "ack": Form("ack", ("alert", "author", "comment"), ("withdraw",)),
    "silence": Form(
        "silence",
        ("matchers", "alert", "for", "ends_at", "starts_at", "author", "comment"),
        ("until_resolved",),
    ),
    "load-demo": Form("load-demo", ()),
    "end-silence": Form("end-silence", ("key",)),
    "requeue": Form("requeue", (), lists=("keys",)),
    "promote": Form("promote-window", ("model", "name", "from", "to")),
}


def told_by(form: Form, fields: Mapping[str, str]) -> dict[str, Any]:
    """What a duty is told by the fields of a form that was filled in."""
    texts = {name: fields.get(name, "").strip() for name in form.fields}
    flags = {name: True for name in form.flags if fields.get(name)}
    lists = {name: [text] for name in form.lists if (text := fields.get(name, "").strip())}
    return {name: text for name, text in texts.items() if text} | flags | lists

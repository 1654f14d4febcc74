"""How each service writes emphasis, code, links and tables, and what keeps a text from being any of these.

Texts that come from labels and annotations are users' data. In each dialect they appear as they are: they
call nobody, link nowhere, and end nothing that was begun.
"""

import html
import re
from collections.abc import Sequence
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

Format = Literal["text", "markdown", "html"]

_NOTHING: Final = "\u200b"
"""A space of no width: what stands before and after it is one word no more."""

_MARKDOWN: Final = re.compile(r"([\\`*_~|<>#]|(?<=\])\()")
_BRACKETS: Final = re.compile(r"([<>\[\]])")
_ADDRESS: Final = re.compile(r"[^\s<>\"'`\\|]{1,1000}")


class Dialect(Protocol):
    """A way to write a body. Every argument is plain text, every result is markup."""

    body_format: Format
    """What Apprise is to be told that it is."""
    newline: str
    """Between two lines."""
    gap: str
    """Between two paragraphs."""

    def text(self, text: str) -> str:
        """Text as it is."""
        ...

    def bold(self, text: str) -> str:
        """Text that is seen first."""
        ...

    def code(self, text: str) -> str:
        """A name or value that people copy."""
        ...

    def link(self, words: str, url: str) -> str:
        """Words that lead somewhere; `url` is one that `safe_url` let pass."""
        ...

    def table(self, rows: Sequence[str]) -> str:
        """Lines whose columns stand below each other."""
        ...


def safe_url(url: str) -> str | None:
    """An address that a message may link to: http or https, without what ends a link; None for others."""
    url = url.strip()
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme.lower() not in {"http", "https"} or not parts.hostname or not _ADDRESS.fullmatch(url):
        return None
    return url.replace("(", "%28").replace(")", "%29")


class Plain:
    """Nothing but text."""

    body_format: Format = "text"
    newline = "\n"
    gap = "\n\n"

    def text(self, text: str) -> str:
        """Text as it is."""
        return text

    bold = text
    code = text

    def link(self, words: str, url: str) -> str:
        """The address in full."""
        return f"{words}: {url}"

    def table(self, rows: Sequence[str]) -> str:
        """Indented lines."""
        return "\n".join(f"  {row}" for row in rows)


class Slack:
    """Markdown that Apprise makes Slack's own of, where nothing but links can be escaped."""

    body_format: Format = "markdown"
    newline = "\n"
    gap = "\n\n"

    def text(self, text: str) -> str:
        """Text that opens nothing; what would be shown with a backslash becomes a sign that looks like it."""
        text = text.replace("\\", "\u2216").replace("`", "'").replace("*", "\u2217")
        return _BRACKETS.sub(r"\\\1", text)

    def bold(self, text: str) -> str:
        """`*text*`, as Slack has it."""
        return f"**{self.text(text)}**"

    def code(self, text: str) -> str:
        """In a grey box, where nothing else has a meaning."""
        return f"`{text.replace('`', chr(39))}`"

    def link(self, words: str, url: str) -> str:
        """Words that lead somewhere."""
        return f"[{words}](<{url}>)"

    def table(self, rows: Sequence[str]) -> str:
        """A block of fixed width."""
        return "\n".join(("```", *(row.replace("`", "'") for row in rows), "```"))


class Discord:
    """Discord's Markdown, in which a mention is a mention wherever it stands."""

    body_format: Format = "markdown"
    newline = "\n"
    gap = "\n\n"

    def text(self, text: str) -> str:
        """Text with a backslash before what means something."""
        return self._unheard(_MARKDOWN.sub(r"\\\1", text))

    def bold(self, text: str) -> str:
        """`**text**`."""
        return f"**{self.text(text)}**"

    def code(self, text: str) -> str:
        """In a grey box."""
        return f"`{self._unheard(text.replace('`', chr(39)))}`"

    def link(self, words: str, url: str) -> str:
        """Words that lead somewhere, without a preview of it."""
        return f"[{words}](<{url}>)"

    def table(self, rows: Sequence[str]) -> str:
        """A block of fixed width."""
        return "\n".join(("```", *(self._unheard(row.replace("`", "'")) for row in rows), "```"))

    def _unheard(self, text: str) -> str:
        return text.replace("@", f"@{_NOTHING}").replace("<#", f"<{_NOTHING}#")


class Teams:
    """What Teams' cards know of Markdown: emphasis and links."""

    body_format: Format = "markdown"
    newline = gap = "\n\n"

    def text(self, text: str) -> str:
        """Text with a backslash before what means something; a card would also replace `{{DATE(…)}}`."""
        text = _MARKDOWN.sub(r"\\\1", text).replace("{{", f"{{{_NOTHING}{{")
        return re.sub(r"^(\s*)([-+]|\d+\.)(\s)", rf"\1\2{_NOTHING}\3", text)

    def bold(self, text: str) -> str:
        """`**text**`."""
        return f"**{self.text(text)}**"

    code = text

    def link(self, words: str, url: str) -> str:
        """Words that lead somewhere."""
        return f"[{words}]({url})"

    def table(self, rows: Sequence[str]) -> str:
        """Lines: cards have nothing of fixed width."""
        return self.newline.join(self.text(row) for row in rows)


class Html:
    """HTML, as far as mails and Telegram both know it."""

    body_format: Format = "html"
    newline = "<br/>\n"
    gap = "<br/>\n<br/>\n"

    def text(self, text: str) -> str:
        """Text in which nothing is a tag."""
        return html.escape(text)

    def bold(self, text: str) -> str:
        """Bold."""
        return f"<b>{html.escape(text)}</b>"

    def code(self, text: str) -> str:
        """Of fixed width."""
        return f"<code>{html.escape(text)}</code>"

    def link(self, words: str, url: str) -> str:
        """Words that lead somewhere."""
        return f'<a href="{html.escape(url)}">{html.escape(words)}</a>'

    def table(self, rows: Sequence[str]) -> str:
        """A block of fixed width."""
        return f"<pre>{html.escape(chr(10).join(rows))}</pre>"


PLAIN: Final = Plain()
_SLACK, _DISCORD, _TEAMS, _HTML = Slack(), Discord(), Teams(), Html()

DIALECTS: Final[dict[str, Dialect]] = {
    "slack": _SLACK,
    "discord": _DISCORD,
    "workflows": _TEAMS,
    "workflow": _TEAMS,
    "tgram": _HTML,
    "mailto": _HTML,
    "mailtos": _HTML,
}
"""By the scheme of an address; what is not here gets plain text, which Apprise makes safe for its service."""

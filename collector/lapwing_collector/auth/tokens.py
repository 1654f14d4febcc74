"""Bearer tokens from a file, a line each: its name, what it may do, and the token or its hash.

    # name     may            token
    scoring    write          ${env:SCORING_TOKEN}
    ana        query,admin    sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b

The file is read anew when it changes, or a file that it names does, so that a token is exchanged without a
restart: while both lines are in it, both tokens hold. Only hashes stay in memory.
"""

import hashlib
import hmac
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from lapwing_collector.errors import AccessError, ConfigError

_LOGGER: Final = logging.getLogger(__name__)
_SHORTEST: Final = 16
_HASH: Final = re.compile(r"sha256:([0-9a-fA-F]{64})")


class Scope(StrEnum):
    """What a token may do."""

    WRITE = "write"
    QUERY = "query"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class _Token:
    name: str
    scopes: frozenset[Scope]
    digest: bytes = field(repr=False)


Resolve = Callable[[str, Path], str]
_Stamp = tuple[int, int, int]


class Tokens:
    """The tokens of a file, as it is now."""

    def __init__(self, file: Path, resolve: Resolve, referenced: Callable[[str, Path], list[Path]]) -> None:
        """Read `file`.

        Args:
            file: A line for each token.
            resolve: Puts in what `${env:NAME}` and `${file:PATH}` in a text stand for, from a folder on.
            referenced: The files that it reads.

        Raises:
            ConfigError: It can not be read, or a line of it is wrong; the message names the line.
        """
        self._file = file
        self._resolve = resolve
        self._referenced = referenced
        self._stamps: dict[Path, _Stamp | None] = {}
        self._failure = ""
        self._tokens = self._read()

    def check(self, authorization: str | None, scope: Scope) -> str:
        """Say whose token a request carries.

        Args:
            authorization: The value of its `Authorization` header, if it has one.
            scope: What the token must allow.

        Raises:
            AccessError: It carries no token that is known (401), or one that does not allow it (403).
        """
        self._refresh()
        scheme, _, presented = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise AccessError("a token is needed here: send the header 'Authorization: Bearer TOKEN'", 401)
        digest = _digest(presented.strip())
        # All are compared, in constant time each: how long it takes says nothing about any of them.
        found = [token for token in self._tokens if hmac.compare_digest(token.digest, digest)]
        if not found:
            raise AccessError("this token is not known; ask whoever runs the collector for one", 401)
        if not any(scope in token.scopes for token in found):
            raise AccessError(
                f"the token {found[0].name!r} does not allow this: it needs {scope.value!r}", 403
            )
        return found[0].name

    def _refresh(self) -> None:
        """Read the file if it has changed, or one that it names; what is wrong then must not lock all out."""
        if all(_stamp(file) == stamp for file, stamp in self._stamps.items()):
            return
        try:
            self._tokens = self._read()
        except ConfigError as error:  # what may have passed by the next request
            if self._failure != str(error):
                _LOGGER.error(  # noqa: TRY400  # the message says all
                    "The tokens of before still hold: %s", error, extra={"action": "tokens_unreadable"}
                )
            self._failure = str(error)
        else:
            self._failure = ""
            _LOGGER.info("Tokens read anew from %s", self._file, extra={"action": "tokens_read"})

    def _read(self) -> tuple[_Token, ...]:
        file = self._file
        stamps = {file: _stamp(file)}
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise ConfigError(f"{file}: the file of tokens cannot be read: {reason}") from error
        lines = {
            number: line
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip() and not line.lstrip().startswith("#")
        }
        stamps |= {
            each: _stamp(each) for line in lines.values() for each in self._referenced(line, file.parent)
        }
        tokens: list[_Token] = []
        for number, line in lines.items():
            try:
                tokens.append(_parse(line, lambda said: self._resolve(said, file.parent)))
            except ConfigError as error:
                raise ConfigError(f"{file}:{number}: {error}") from None
        if not tokens:
            raise ConfigError(f"{file}: there is no token in it; write lines such as: scoring write TOKEN")
        self._stamps = stamps
        return tuple(tokens)


def _stamp(file: Path) -> _Stamp | None:
    try:
        found = os.stat(file)  # noqa: PTH116  # at each request: a Path costs as much as the call
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _parse(line: str, resolve: Callable[[str], str]) -> _Token:
    try:
        name, scopes, token = line.split(None, 2)
    except ValueError:
        raise ConfigError("expected a name, scopes and a token: scoring write,query TOKEN") from None
    # No word of the line is told: where the columns are mixed up, any of them may be the token.
    known = {scope.value for scope in Scope}
    if not known.issuperset(scopes.split(",")):
        raise ConfigError(
            f"its second word must say what the token may do: {', '.join(sorted(known))}, between commas"
        )
    allowed = frozenset(Scope(scope) for scope in scopes.split(","))
    if hashed := _HASH.fullmatch(token.strip()):
        return _Token(name, allowed, bytes.fromhex(hashed[1]))
    text = resolve(token.strip()).strip()
    if len(text) < _SHORTEST or text.startswith("sha256:"):
        raise ConfigError(
            f"a token must have {_SHORTEST} characters or more, or be 'sha256:' and 64 "
            "hexadecimal digits; make one with: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return _Token(name, allowed, _digest(text))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()

"""Files of tokens: what their lines say, who is let in, and how tokens are exchanged."""

import hashlib
import logging
from pathlib import Path

import pytest

from lapwing_collector.auth import Scope, Tokens
from lapwing_collector.config import referenced_files, resolve_references
from lapwing_collector.errors import AccessError, ConfigError

OLD, NEW = "old-token-0123456789", "new-token-0123456789"


def tokens(folder: Path, *lines: str) -> Tokens:
    """The tokens of a file with these lines."""
    file = folder / "tokens"
    file.write_text("\n".join(lines), encoding="utf-8")
    return Tokens(file, resolve_references, referenced_files)


def status(known: Tokens, authorization: str | None, scope: Scope = Scope.WRITE) -> int:
    """The status of a request that carries this header."""
    try:
        known.check(authorization, scope)
    except AccessError as error:
        return error.status_hint
    return 200


def test_a_token_allows_what_its_line_says(tmp_path: Path) -> None:
    """A token is known whatever the case of the scheme, and allows its scopes only."""
    known = tokens(tmp_path, "# who may", "", f"a write {OLD}", f"b  query,admin\t{NEW}  ")
    assert known.check(f"Bearer {OLD}", Scope.WRITE) == "a"
    assert known.check(f"bearer   {NEW} ", Scope.ADMIN) == "b"
    assert [status(known, f"Bearer {NEW}", scope) for scope in Scope] == [403, 200, 200]
    assert [status(known, f"Bearer {OLD}", scope) for scope in Scope] == [200, 403, 403]


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {OLD}",
        OLD,
        f"Bearer {OLD}x",
        f"Bearer {OLD[:-1]}",
        "Bearer é",
    ],
)
def test_others_are_not_let_in(tmp_path: Path, authorization: str | None) -> None:
    """Without a token, or with one that is not in the file, the answer is 401."""
    assert status(tokens(tmp_path, f"a write {OLD}"), authorization) == 401


def test_a_hash_stands_for_its_token(tmp_path: Path) -> None:
    """A file may hold hashes, from which nobody learns the tokens."""
    known = tokens(tmp_path, f"a write sha256:{hashlib.sha256(OLD.encode()).hexdigest().upper()}")
    assert status(known, f"Bearer {OLD}") == 200


def test_references_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token may come from the environment or a file of its own."""
    monkeypatch.setenv("SOME_TOKEN", OLD)
    (tmp_path / "secret").write_text(f"{NEW}\n", encoding="utf-8")
    known = tokens(tmp_path, "a write ${env:SOME_TOKEN}", f"b write ${{file:{tmp_path}/secret}}")
    assert [status(known, f"Bearer {token}") for token in (OLD, NEW)] == [200, 200]


def test_tokens_are_exchanged_without_a_restart(tmp_path: Path) -> None:
    """While the old and the new line are in the file both tokens hold; then the old one no longer does."""
    known = tokens(tmp_path, f"a write {OLD}")
    headers = [f"Bearer {OLD}", f"Bearer {NEW}"]
    assert [status(known, header) for header in headers] == [200, 401]
    tokens(tmp_path, f"a write {OLD}", f"a write {NEW}")
    assert [status(known, header) for header in headers] == [200, 200]
    tokens(tmp_path, f"a write,query {NEW}")
    assert [status(known, header) for header in headers] == [401, 200]


def test_a_file_beside_it_is_exchanged_without_a_restart(tmp_path: Path) -> None:
    """A token in a file of its own, which is named from there on, holds as soon as that is replaced."""
    secret = tmp_path / "secret"
    secret.write_text(OLD, encoding="utf-8")
    known = tokens(tmp_path, "a write ${file:secret}")
    headers = [f"Bearer {OLD}", f"Bearer {NEW}"]
    assert [status(known, header) for header in headers] == [200, 401]
    (tmp_path / "new").write_text(NEW, encoding="utf-8")
    (tmp_path / "new").replace(secret)
    assert [status(known, header) for header in headers] == [401, 200]
    secret.unlink()
    assert [status(known, header) for header in headers] == [401, 200]
    secret.write_text(OLD, encoding="utf-8")
    assert [status(known, header) for header in headers] == [200, 401]
    lines = (tmp_path / "tokens").read_text(encoding="utf-8")
    (tmp_path / "tokens").unlink()
    secret.write_text(NEW, encoding="utf-8")
    assert [status(known, header) for header in headers] == [200, 401]
    (tmp_path / "tokens").write_text(lines, encoding="utf-8")
    assert [status(known, header) for header in headers] == [401, 200]


@pytest.mark.parametrize("broken", ["nonsense", "", None])
def test_a_broken_file_locks_nobody_out(
    tmp_path: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a file can no longer be read, the tokens of before hold, and it is said once."""
    known = tokens(tmp_path, f"a write {OLD}")
    if broken is None:
        (tmp_path / "tokens").unlink()
    else:
        (tmp_path / "tokens").write_text(broken, encoding="utf-8")
    assert [status(known, f"Bearer {OLD}") for _ in range(3)] == [200] * 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert str(tmp_path / "tokens") in caplog.text


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a write", "expected a name, scopes and a token"),
        (f"a read {OLD}", "its second word must say what the token may do: admin, query, write"),
        (f"a write, {OLD}", "its second word"),
        (f"a {OLD} write", "its second word"),
        (f"{OLD} write short", "a token must have 16 characters or more"),
        ("a write short", "a token must have 16 characters or more"),
        ("a write sha256:abc0123456789", "64 hexadecimal digits"),
        ("a write ${env:NOT_SET_ANYWHERE}", "the environment variable NOT_SET_ANYWHERE is not set"),
        ("# nothing", "there is no token in it"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, line: str, told: str) -> None:
    """What is wrong in a file is told with the line, and never with the token."""
    with pytest.raises(ConfigError, match=str(tmp_path)) as refused:
        tokens(tmp_path, f"# a file\n{line}")
    assert told in str(refused.value)
    assert OLD not in str(refused.value)
    assert "short" not in str(refused.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A file that can not be read is named."""
    with pytest.raises(ConfigError, match="nothing: the file of tokens cannot be read: No such file"):
        Tokens(tmp_path / "nothing", resolve_references, referenced_files)


def test_tokens_are_never_shown(tmp_path: Path) -> None:
    """Nothing that is printed of the tokens holds them or their hashes."""
    known = tokens(tmp_path, f"a write {OLD}")
    digest = hashlib.sha256(OLD.encode())
    shown = repr(known) + repr(vars(known))
    assert not [secret for secret in (OLD, digest.hexdigest(), repr(digest.digest())) if secret in shown]

"""The redaction file: read whole, or every mistake told with its line."""

import re
from pathlib import Path

import pytest

from lapwing_collector.errors import ConfigError
from lapwing_collector.redact import Policy, read_policy

ONE_OF = "rules[0]: expected one of drop, mask, hash, truncate"


def policy(tmp_path: Path, text: str) -> Policy:
    file = tmp_path / "redact.yaml"
    file.write_text(text)
    found = read_policy(file)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rules: [{drop: ssn}]", "rules[0]: the path 'ssn' to redact names no field"),
        ("rules: [{drop: inputs.ssn, mask: inputs.x}]", ONE_OF),
        ("rules: [{matching: EMAIL}]", ONE_OF),
        ("rules: [{drop: inputs.x, with: 1}]", "rules[0]: with means nothing to drop"),
        ("rules: [{hash: inputs.x}]", "rules[0]: hash needs salt"),
        ("rules: [{hash: inputs.x, salt: ''}]", "rules[0]: redact.hash(): salt is empty"),
        ("rules: [{hash: inputs.x, salt: '${env:NO}'}]", "salt: the environment variable NO is not set"),
        ("rules: [{truncate: inputs.x}]", "rules[0]: truncate needs length"),
        ("rules: [{truncate: inputs.x, length: -1}]", "length is a whole number, 0 or more"),
        ("rules: [{mask: '**', matching: '('}]", "is no regular expression"),
        ("rules: [{mask: '**', matching: a, with: 1}]", "with_ is text where parts of texts are replaced"),
        ("rules: [{mask: []}]", "rules[0].mask: "),
        ("rules: [{masks: inputs.x}]", "rules[0].masks: is not a key here; did you mean mask?"),
        ("models: {m: {allow: resource}}", "models.m: the path 'resource' to redact names no field"),
        ("models: {m: {rules: [{drop: resource.x}]}}", "models.m: the path 'resource.x' to redact"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, told: str) -> None:
    """Each mistake is told with file, line and key, and what to do."""
    with pytest.raises(ConfigError, match=rf"redact.yaml:1: .*{re.escape(told)}"):
        policy(tmp_path, text)


def test_salts_are_in_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A salt comes from where its reference points, and no text of a policy or of a mistake shows it."""
    monkeypatch.setenv("SALT", "very secret")
    assert "secret" not in repr(policy(tmp_path, "rules: [{hash: inputs.x, salt: '${env:SALT}'}]"))
    with pytest.raises(ConfigError) as told:
        policy(tmp_path, "rules: [{hash: x, salt: '${env:SALT}'}, {drop: inputs.x, salt: '${env:SALT}'}]")
    assert "secret" not in str(told.value)


def test_versions_tell_policies_apart(tmp_path: Path) -> None:
    """The version changes with each rule, model, path, option and salt, and with nothing else."""
    texts = [
        "rules: [{hash: inputs.x, salt: a}]",
        "rules: [{hash: inputs.x, salt: b}]",
        "rules: [{hash: inputs.y, salt: a}]",
        "rules: [{hash: inputs.x, salt: a, matching: x}]",
        "rules: [{hash: inputs.x, salt: a}, {drop: inputs.x}]",
        "models: {m: {rules: [{hash: inputs.x, salt: a}]}}",
        "models: {n: {rules: [{hash: inputs.x, salt: a}]}}",
        "models: {m: {allow: inputs}}",
    ]
    assert len({policy(tmp_path, text).version for text in texts}) == len(texts)
    same = "# why\nrules:\n  - salt: a\n    hash:\n      - inputs.x\n"
    assert policy(tmp_path, same).version == policy(tmp_path, texts[0]).version


@pytest.mark.parametrize("text", ["", "rules: []", "models: {m: {}}"])
def test_no_rule_is_no_policy(tmp_path: Path, text: str) -> None:
    """A file without a rule asks for nothing, and costs nothing."""
    (tmp_path / "redact.yaml").write_text(text)
    assert read_policy(tmp_path / "redact.yaml") is None

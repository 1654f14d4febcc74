"""Style and scripts: nothing of others but what the manifest names, and nothing from another host."""

import asyncio
import gzip
import hashlib
import re
import tomllib
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

import lapwing_collector.web
from lapwing_collector.web.assets import Assets

WEB = Path(lapwing_collector.web.__file__).parent
STATIC = WEB / "static"
VENDOR = STATIC / "vendor"


def asked(assets: Assets, address: str, accepts: str = "gzip") -> Response:
    scope = {
        "type": "http",
        "path": address,
        "headers": [(b"accept-encoding", accepts.encode())],
        "path_params": {"name": address.split("/", 3)[3]},
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "query_string": b"",
    }
    return asyncio.run(assets.answer(Request(scope)))


def test_what_others_wrote_is_what_the_manifest_says() -> None:
    """Every vendored file has the hash that is written down for it, and none is there without one."""
    told = tomllib.loads((VENDOR / "VENDOR.toml").read_text())
    hashes = {name: digest for package in told.values() for name, digest in package["sha256"].items()}
    found = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in VENDOR.iterdir()
        if file.name != "VENDOR.toml"
    }
    assert found == hashes
    assert all(package["licence"] == "MIT" and package["version"] for package in told.values())


def test_nothing_is_fetched_from_elsewhere() -> None:
    """Templates, styles and our scripts name no other host, and templates hold neither script nor style."""
    files = [*WEB.glob("templates/*.html"), *STATIC.glob("*.css"), *STATIC.glob("*.js")]
    assert len(files) > 10
    for file in files:
        text = file.read_text()
        hosts = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", text)) - {"http://www.w3.org/2000/svg"}
        assert not hosts, file
        assert not re.search(r"@import|url\(|<style| style=| on\w+=", text), file
        if file.suffix == ".html":
            for opened in re.findall(r"<script[^>]*>", text):
                assert 'src="{{ asset(' in opened or 'type="application/json"' in opened, (file, opened)


def test_files_are_kept_by_browsers_until_they_change(tmp_path: Path) -> None:
    """An address holds as long as no file changes; browsers keep what it gives, packed where they take it."""
    (tmp_path / "a.js").write_text("// a line..... " * 106 + "\n" * 10)
    (tmp_path / "note.txt").write_text("not for browsers")
    assets = Assets(tmp_path)
    address = assets.url("a.js")
    assert address == Assets(tmp_path).url("a.js")
    answer = asked(assets, address)
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Type"].startswith("text/javascript")
    plain = asked(assets, address, "identity")
    assert (gzip.decompress(answer.body), "Content-Encoding" in plain.headers) == (plain.body, False)
    assert len(answer.body) < len(plain.body) == 1600
    (tmp_path / "a.js").write_text("other")
    changed = Assets(tmp_path)
    assert changed.url("a.js") != address
    late = asked(changed, address, "")
    assert (late.body, late.headers["Cache-Control"]) == (b"other", "no-cache")
    assert asked(assets, address.replace("a.js", "note.txt")).status_code == 404


def test_a_script_is_answered_with_what_it_imports(tmp_path: Path) -> None:
    """Modules that are imported come before, each once and under its own names; nothing is imported."""
    (tmp_path / "a.js").write_text(
        'import "./b.js";\nimport { one, two as second } from "./c.js";\none(second);\n'
    )
    (tmp_path / "b.js").write_text('import { one } from "./c.js";\nconst two = one;\n')
    (tmp_path / "c.js").write_text("export const two = 2;\nexport async function one() {}\nconst own = 1;\n")
    assets = Assets(tmp_path)
    assert asked(assets, assets.url("a.js"), "").body.decode() == (
        "const c_js = (() => {\nconst two = 2;\nasync function one() {}\nconst own = 1;\n\n"
        "return { two, one };\n})();\n"
        "const b_js = (() => {\nconst { one } = c_js;\nconst two = one;\n\nreturn {  };\n})();\n"
        "const a_js = (() => {\n\nconst { one, two: second } = c_js;\none(second);\n\nreturn {  };\n})();\n"
    )


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('import "./a.js";', "a.js imports itself"),
        ('import * as other from "./b.js";', "this form is not known: import *"),
        ("export default 1;", "this form is not known: export default"),
    ],
)
def test_a_script_that_cannot_be_put_together_is_told(tmp_path: Path, script: str, said: str) -> None:
    """Modules that import in circles, or in another form than ours do, are a mistake when assets are read."""
    (tmp_path / "a.js").write_text(script)
    (tmp_path / "b.js").write_text('import "./a.js";')
    with pytest.raises(ValueError, match=re.escape(said)):
        Assets(tmp_path)


def test_scripts_are_light() -> None:
    """All scripts together, packed, are below 60 KB."""
    packed = sum(len(gzip.compress(file.read_bytes(), 9)) for file in STATIC.rglob("*.js"))
    assert packed < 60_000

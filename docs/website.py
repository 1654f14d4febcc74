"""Builds the documentation as a site that needs no other host: `make docs`.

The site is the repository's own pages in their own folders, so that a link that works in one works in the
other. It is not built where a link leads nowhere, where the navigation names a page that is not there or
leaves one out, or where a browser would fetch anything from another host.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

ROOT: Final = Path(__file__).parents[1]
SITE: Final = ROOT / ".cache" / "site"
PAGES: Final = ("*.md", "LICENSE", "bench/*.md", "deploy/**/*", "docs/**/*", "examples/**/*")
"""What of the repository is in the site: its pages, and what they link to."""

Nav = Sequence["str | tuple[str, str | Nav]"]
"""Pages, and sections with their titles."""

NAV: Final[Nav] = (
    ("Lapwing", "README.md"),
    ("Tutorial", "docs/tutorial.md"),
    (
        "How to",
        (
            ("All pages", "docs/README.md"),
            (
                "Watch a model",
                ("docs/sdk.md", "docs/testing.md", "docs/redaction.md", "docs/models.md", "docs/labels.md"),
            ),
            (
                "Look",
                (
                    "docs/queries.md",
                    "docs/dashboard.md",
                    "docs/model-quality.md",
                    "docs/drift.md",
                    "docs/references.md",
                ),
            ),
            ("Be told", ("docs/rules.md", "docs/alert-tools.md", "docs/notifications.md")),
            ("Release", ("docs/evaluation.md", "examples/gate/README.md")),
            (
                "Run it",
                (
                    "docs/running.md",
                    "docs/deploying.md",
                    "deploy/README.md",
                    "docs/security.md",
                    "docs/maintenance.md",
                    "docs/upgrading.md",
                    "docs/telemetry.md",
                    "docs/grafana.md",
                    "docs/scaling.md",
                    "docs/replicas.md",
                ),
            ),
            (
                "Learn",
                (
                    "examples/README.md",
                    "examples/flights/README.md",
                    "examples/integrations/README.md",
                    "docs/course.md",
                ),
            ),
            ("When something is odd", "docs/troubleshooting.md"),
        ),
    ),
    (
        "Reference",
        (
            "docs/cli.md",
            "docs/settings.md",
            "docs/http-api.md",
            "docs/lake.md",
            "docs/profiles.md",
            "docs/conventions.md",
            "docs/values.md",
            "docs/receiving.md",
            "docs/glossary.md",
        ),
    ),
    ("Metrics", ("docs/metrics/README.md", "docs/metrics/*.md")),
    (
        "Explanation",
        (
            "docs/promises.md",
            "docs/durability.md",
            "docs/faults.md",
            "docs/statistics.md",
            "ARCHITECTURE.md",
            ("Decisions", ("docs/decisions/README.md", "docs/decisions/*.md")),
            "docs/making-pages.md",
            "docs/releasing.md",
            "bench/RESULTS.md",
            "CHANGELOG.md",
        ),
    ),
    (
        "Coming from",
        ("docs/comparison.md", "docs/from/*.md"),
    ),
)

CONFIG: Final = """[project]
site_name = "Lapwing"
site_description = "Watches machine-learning models in production"
docs_dir = "pages"
site_dir = "html"
use_directory_urls = false
extra_css = ["lapwing.css"]
nav = {nav}

[project.theme]
font = false
features = [
    "content.code.copy", "navigation.footer", "navigation.indexes", "navigation.prune", "navigation.sections",
    "navigation.top", "search.highlight", "toc.follow",
]
icon.logo = "lucide/bird"

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle = {{ icon = "lucide/sun", name = "Dark" }}

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle = {{ icon = "lucide/moon", name = "Light" }}

[project.plugins.search]

[project.markdown_extensions]
sane_lists = {{}}
tables = {{}}
toc = {{ permalink = true }}

[project.markdown_extensions.pymdownx]
betterem = {{}}
highlight = {{ pygments_lang_class = true }}
superfences = {{}}
"""

STYLE: Final = "thead:not(:has(th:not(:empty))) { display: none; }\n"
"""Tables without headings have an empty one in Markdown."""


class SiteError(Exception):
    """The site cannot be built as it should be; each line is a reason."""


def build(root: Path, folder: Path, nav: Nav) -> Path:
    """Build the site of the pages below `root` in `folder`, which is emptied; where its first page is.

    Raises:
        SiteError: A page, or a link between pages, is missing, or something is to come from elsewhere.
    """
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "pages"
    found = {file for pattern in PAGES for file in root.glob(pattern) if file.is_file()}
    there = sorted(file for file in found if "__pycache__" not in file.parts)
    for file in there:
        target = pages / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    known = [str(file.relative_to(root)) for file in there if file.suffix == ".md"]
    whole = tuple(_expanded(nav, known))
    _raise([*_unplaced(whole, known)])
    (pages / "lapwing.css").write_text(STYLE, encoding="utf-8")
    (folder / "zensical.toml").write_text(CONFIG.format(nav=_toml(whole)), encoding="utf-8")
    done = subprocess.run(  # noqa: S603  # our own arguments
        [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", folder / "zensical.toml"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        told = re.sub(r"\x1b\[[\d;]*m", "", done.stderr)
        raise SiteError(told.partition("Traceback")[0] or told)
    _raise([*_wrong(folder / "html")])
    return folder / "html" / "index.html"


def _raise(reasons: Sequence[str]) -> None:
    if reasons:
        raise SiteError("\n".join(reasons))


def _expanded(nav: Nav, known: Sequence[str]) -> Iterator[Any]:
    """The navigation with the pages that a pattern stands for."""
    for each in nav:
        match each:
            case (str(title), str(page)):
                yield (title, page)
            case (str(title), inner):
                yield (title, tuple(_expanded(inner, known)))
            case str() if "*" in each:
                named = {*_named(nav)}
                yield from (page for page in known if Path(page).match(each) and page not in named)
            case _:
                yield each


def _named(nav: Nav) -> Iterator[str]:
    for each in nav:
        match each:
            case (_, str(page)):
                yield page
            case (_, inner):
                yield from _named(inner)
            case _:
                yield each


def _unplaced(nav: Nav, known: Sequence[str]) -> Iterator[str]:
    named = [*_named(nav)]
    yield from (
        f"{page}: the navigation names it, and there is no such page" for page in named if page not in known
    )
    yield from (
        f"{page}: has no place in the navigation, NAV in docs/website.py"
        for page in known
        if page not in named
    )


def _toml(nav: Nav) -> str:
    def one(each: Any) -> str:
        if isinstance(each, str):
            return json.dumps(each)
        title, inner = each
        return f"{{ {json.dumps(title)} = {json.dumps(inner) if isinstance(inner, str) else _toml(inner)} }}"

    return f"[{', '.join(map(one, nav))}]"


class _Addresses(HTMLParser):
    """Collects what a browser fetches to show a page, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value for name, value in attrs if value}
        if tag == "a":
            self.links += [told[name] for name in ("href",) if name in told]
            return
        self.fetched += [told[name] for name in ("src", "href", "srcset", "data", "poster") if name in told]
        self.fetched += re.findall(r"url\(([^)]+)\)", told.get("style", ""))


def _wrong(html: Path) -> Iterator[str]:
    """What would be fetched from another host, and links to files that are not there."""
    for file in sorted(html.rglob("*.html")):
        page = _Addresses()
        page.feed(file.read_text(encoding="utf-8"))
        name = file.relative_to(html)
        yield from (f"{name}: is to fetch {each}" for each in page.fetched if _is_foreign(each))
        for link in {unquote(urlsplit(each).path) for each in page.links if not urlsplit(each).scheme}:
            if file.name != "404.html" and not (file.parent / link).exists():
                yield f"{name}: {link} is not there"
    for file in sorted(html.rglob("*.css")):
        found = re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')]+)", file.read_text(encoding="utf-8"))
        yield from (f"{file.relative_to(html)}: is to fetch {each}" for each in found if _is_foreign(each))


def _is_foreign(address: str) -> bool:
    return re.match(r"(?:https?:)?//", address.strip()) is not None


def main() -> None:
    """Build the site, and say where it is or why not."""
    try:
        sys.stdout.write(f"{build(ROOT, SITE, NAV)}\n")
    except SiteError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()

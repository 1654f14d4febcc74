"""The site of the documentation is whole, or is not built."""

import re
import runpy
from pathlib import Path

import pytest

from helpers.contract_docs import ROOT

SITE = runpy.run_path(str(ROOT / "docs" / "website.py"))
BUILD, ERROR = SITE["build"], SITE["SiteError"]


def repository(folder: Path, **pages: str) -> Path:
    """A repository of pages, by their names below docs."""
    (folder / "docs").mkdir(parents=True)
    (folder / "README.md").write_text("# Lapwing\n\n[One](docs/one.md#two), [licence](LICENSE)\n")
    (folder / "LICENSE").write_text("Apache\n")
    for name, text in pages.items():
        (folder / "docs" / f"{name}.md").write_text(text)
    return folder


def test_links_work_as_in_the_repository(tmp_path: Path) -> None:
    """Pages and files are where links between them lead, and pages of a pattern are in the navigation."""
    root = repository(tmp_path / "root", one="# One\n\n## Two\n\n[Home](../README.md)\n", other="# Other\n")
    first = BUILD(root, tmp_path / "site", ("README.md", ("More", ("docs/one.md", "docs/*.md"))))
    page = first.read_text()
    for link in re.findall(r'href="([^"#]*)', re.search(r"<article.*?</article>", page, re.DOTALL)[0]):
        assert (first.parent / link).exists(), link
    assert "Other" in page


@pytest.mark.parametrize(
    ("pages", "nav", "reason"),
    [
        ({"one": "## Two\n[gone](gone.md)\n"}, ("README.md", "docs/one.md"), "docs/one.md:2:8"),
        ({"one": "# One\n"}, ("README.md", "docs/one.md"), "anchor does not exist"),
        ({"one": "## Two\n[x](gone.yaml)\n"}, ("README.md", "docs/one.md"), "docs/one.html: gone.yaml"),
        ({"one": "## Two\n", "odd": "# Odd\n"}, ("README.md", "docs/one.md"), "docs/odd.md: has no place"),
        ({"one": "## Two\n"}, ("README.md", "docs/one.md", "docs/gone.md"), "docs/gone.md: the navigation"),
        ({"one": "## Two\n![x](https://example.org/x.png)\n"}, ("README.md", "docs/one.md"), "is to fetch"),
    ],
    ids=[
        "a page is gone",
        "a heading is gone",
        "a file is gone",
        "a page without a place",
        "a place without a page",
        "another host",
    ],
)
def test_what_is_not_whole_is_not_built(
    pages: dict[str, str], nav: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    """A link that leads nowhere, an orphan and a picture from elsewhere are each told."""
    with pytest.raises(ERROR, match=re.escape(reason)):
        BUILD(repository(tmp_path / "root", **pages), tmp_path / "site", nav)


def test_the_tests_that_prove_the_promises_are_there() -> None:
    """Each test that docs/promises.md names exists; a name alone is a file of the folder before it."""
    folder = Path()
    for name in re.findall(
        r"`((?:tests/|test_)[\w/]+(?:\.py)?)`", (ROOT / "docs" / "promises.md").read_text()
    ):
        path = ROOT / name if name.startswith("tests/") else folder / name
        assert path.exists(), name
        folder = path.parent

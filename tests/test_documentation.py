"""What messages point to is there, in a clone and in a wheel; what is said of a release agrees."""

import re
import sys
from pathlib import Path

import pytest

from keras_sbn import documentation
from keras_sbn.version import __version__

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "keras_sbn"


def _project():
    if sys.version_info < (3, 11):
        pytest.skip("tomllib is of Python 3.11")
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_pages_that_messages_name_are_in_the_clone_and_in_the_wheel():
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    named = {name for source in sources for name in re.findall(r"page\(['\"](\w+)['\"]\)", source)}
    assert "devices" in named
    carried = _project()["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    for name in named:
        assert Path(documentation.page(name)).is_file()
        assert carried[f"docs/{name}.md"] == f"keras_sbn/docs/{name}.md"
    for path in carried:
        assert (ROOT / path).exists()
    with pytest.raises(ValueError, match="Received: 'no_such_page'"):
        documentation.page("no_such_page")


def test_links_between_pages_lead_somewhere():
    """MkDocs checks those of the site; these are read in a clone as well."""
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "SECURITY.md"]
    for page in pages:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in text


def test_the_readme_comes_to_its_tables_after_two_screens():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").split("## Accuracy")[0].splitlines()
    assert len(lines) <= 90


def test_the_citation_names_the_version():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")

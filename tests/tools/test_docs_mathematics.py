"""The formulas of the documentation become MathML when the site is made."""

import importlib.util
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("latex2mathml")

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def hook():
    spec = importlib.util.spec_from_file_location("docs_mathematics", ROOT / "tools/docs_mathematics.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def inline(latex):
    return f'<span class="arithmatex">\\({latex}\\)</span>'


def block(latex):
    return f'<div class="arithmatex">\\[\n{latex}\n\\]</div>'


def parts(text):
    """The tags and texts of MathML, without its namespace."""
    found = ElementTree.fromstring(text)
    return [(part.tag.split("}")[1], part.text) for part in found.iter()]


def test_formulas_become_mathml(hook):
    page = "<p>a " + inline("a &lt; 1") + " b</p>" + block(r"\frac{a}{s} \ge \sqrt{2}")
    first, second = re.findall(r"<math.*?</math>", hook.on_page_content(page, page=None))
    assert "arithmatex" not in hook.on_page_content(page)
    assert parts(first)[-3:] == [("mi", "a"), ("mo", "<"), ("mn", "1")]
    assert 'display="inline"' in first
    assert 'display="block"' in second
    names = [name for name, _ in parts(second)]
    assert {"mfrac", "msqrt"} <= set(names)
    assert ("mo", "≥") in parts(second)


def test_a_page_without_formulas_stays(hook):
    page = "<p>costs $5 and $6</p>"
    assert hook.on_page_content(page) == page


@pytest.mark.parametrize("latex", [r"\nosuchcommand{a}", r"a &amp; b"])
def test_unknown_commands_are_errors(hook, latex):
    with pytest.raises(ValueError, match="Expected LaTeX that latex2mathml knows"):
        hook.on_page_content(block(latex))


def test_every_formula_of_the_documentation(hook):
    formulas = []
    for path in (ROOT / "docs").rglob("*.md"):
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        text = re.sub(r"`[^`\n]*`", "", text)
        formulas += [block(one) for one in re.findall(r"\$\$(.*?)\$\$", text, re.DOTALL)]
        text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
        formulas += [inline(one) for one in re.findall(r"\$([^$\n]+)\$", text)]
    assert len(formulas) > 20
    for formula in formulas:
        (found,) = re.findall(r"<math.*</math>", hook.on_page_content(formula))
        assert parts(found)

"""The code of the README and of the documentation runs as it stands."""

import importlib.util
import re
import shutil
from pathlib import Path

import keras
import pytest
from conftest import needs_new_litert

import keras_sbn
from keras_sbn.extras import installed, why_not_run

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page for page in (ROOT / "docs").rglob("*.md") if "```python" in page.read_text(encoding="utf-8")
)


def blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def test_quickstart(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(ROOT / "README.md")
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "model.tflite").stat().st_size > 0
    assert "360 samples: 0 decisions differ" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page, tmp_path, monkeypatch):
    """Blocks of a page go on from one another, as a reader types them."""
    monkeypatch.chdir(tmp_path)
    if page.stem == "microcontrollers" and why_not_run("c") is not None:
        pytest.skip(why_not_run("c"))
    if page.stem == "fpga" and (not installed("hls4ml") or shutil.which("g++") is None):
        pytest.skip("needs hls4ml, pip install 'keras-sbn[hls4ml]', and g++")
    if page.stem == "larq":
        _write_larq_model()
    names = {}
    for number, code in enumerate(blocks(page), 1):
        if '"micro"' in code and needs_new_litert.args[0]:
            pytest.skip(f"from block {number} on {needs_new_litert.kwargs['reason']}")
        exec(compile(code, f"{page.name}, block {number}", "exec"), names)


def _write_larq_model():
    """The model that the page on Larq starts from."""
    if not all(importlib.util.find_spec(name) for name in ("larq", "tf_keras")):
        pytest.skip("needs larq and tf-keras")
    model = keras.Sequential([keras.Input((8,)), keras_sbn.layers.SelfBinarizingDense(2)])
    keras_sbn.binarize(model)
    keras_sbn.larq.to_larq(model, "larq_model.h5")

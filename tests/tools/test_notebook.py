"""The pictures in the notebook are those of its code."""

import base64
import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("notebook_tool", ROOT / "tools/notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(tool):
    return json.loads(tool.NOTEBOOK.read_text(encoding="utf-8"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_it_was_run_since_its_code_was_changed(tool):
    notebook = load(tool)
    executed = notebook["metadata"]["keras_sbn"]["executed"]
    assert executed == tool.digest(notebook), "run `make notebook`"
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, 1 + len(cells)))
    outputs = [output for cell in cells for output in cell["outputs"]]
    pictures = [
        output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 3
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    printed = "".join("".join(output.get("text", "")) for output in outputs)
    assert "360 samples: 0 decisions differ" in printed
    assert not [output for output in outputs if output["output_type"] == "error"]


def test_changed_code_is_noticed(tool):
    notebook = load(tool)
    before = tool.digest(notebook)
    notebook["cells"][0]["source"] = ["other text"]
    assert tool.digest(notebook) == before
    code_cells(notebook)[-1]["source"].append("\nprint(1)")
    assert tool.digest(notebook) != before


def test_tidied(tool):
    notebook = load(tool)
    first = code_cells(notebook)[0]
    said = {"output_type": "stream", "name": "stderr", "text": ["a warning of /home/someone"]}
    first["outputs"].insert(0, said)
    first["metadata"] = {"execution": {"iopub.execute_input": "2020-01-01T00:00:00Z"}}
    text = json.dumps(tool.tidied(notebook))
    assert "someone" not in text
    assert "2020" not in text
    assert code_cells(tool.tidied(notebook))[0]["outputs"] == first["outputs"][1:]


def test_it_runs_a_notebook(tool):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    source = ["import os\n", "print(6 * 7, os.listdir())"]
    cell = {"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": []}
    notebook = {"cells": [{**cell, "source": source}], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}
    done = tool.execute(notebook)
    assert code_cells(done)[0]["outputs"][0]["text"] == ["42 []\n"]
    assert done["metadata"]["keras_sbn"]["executed"] == tool.digest(notebook)

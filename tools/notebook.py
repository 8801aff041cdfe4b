"""Runs examples/quickstart.ipynb and writes its pictures and prints into it: `make notebook`.

Beside them it notes a digest of the code that made them, by which `tests/tools/test_notebook.py` finds
code that was changed since. Needs the extra `notebook`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parent.parent / "examples" / "quickstart.ipynb"
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def digest(notebook: dict[str, Any]) -> str:
    """What stands for the code of all cells, in their order."""
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def execute(notebook: dict[str, Any]) -> dict[str, Any]:
    """Returns the notebook with the outputs of a new run, in an empty folder.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    import nbclient
    import nbformat

    read = nbformat.reads(json.dumps(notebook), as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(
            read, timeout=3600, kernel_name="python3", resources={"metadata": {"path": folder}}
        ).execute()
    nbformat.validate(read)
    return tidied(json.loads(nbformat.writes(read)))


def tidied(notebook: dict[str, Any]) -> dict[str, Any]:
    """Returns the notebook without what differs from run to run or machine to machine."""
    cells = []
    for cell in notebook["cells"]:
        kept = {**cell, "metadata": {}}
        if cell["cell_type"] == "code":
            # What is said on standard error is about the machine; the value of a last line says nothing.
            kept["outputs"] = [
                one
                for one in cell["outputs"]
                if one.get("name") != "stderr" and one["output_type"] != "execute_result"
            ]
        cells.append(kept)
    metadata = {
        "kernelspec": _KERNEL,
        "language_info": {"name": "python"},
        "keras_sbn": {"executed": digest(notebook)},
    }
    return {**notebook, "cells": cells, "metadata": metadata}


def main() -> None:
    """Runs the notebook and writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=NOTEBOOK, help="where to write it")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    result = execute(json.loads(NOTEBOOK.read_text(encoding="utf-8")))
    text = json.dumps(result, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

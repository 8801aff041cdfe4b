"""The TFLite schema's Python classes, from whichever installed package brings them."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from keras_sbn.extras import installed, remedy

#: Package and file of the generated schema, in the order they are tried.
_PLACES = (
    ("ai_edge_litert", "schema_py_generated.py"),
    ("tensorflow", "lite/python/schema_py_generated.py"),
    ("larq_compute_engine", "mlir/python/tflite_schema.py"),
)


@functools.cache
def schema() -> Any:
    """Returns the module of generated schema classes, without importing the package that holds it.

    Raises:
        ImportError: If no package with the schema, or no `flatbuffers`, is installed.
    """
    if not installed("flatbuffers"):
        raise ImportError(
            "Reading and writing .tflite files needs flatbuffers, which is not installed: "
            + remedy("convert")
        )
    for package, relative in _PLACES:
        path = file_of_package(package, relative)
        if path is not None:
            return load_module("keras_sbn_tflite_schema", path)
    raise ImportError(
        "Reading and writing .tflite files needs the TFLite schema, from ai-edge-litert, tensorflow or "
        f"larq-compute-engine. None is installed: {remedy('convert')}"
    )


def made(kind: str, **fields: Any) -> Any:
    """Returns an object of the schema's class for a table, such as "Tensor", with these fields."""
    found = getattr(schema(), f"{kind}T")()
    for field, value in fields.items():
        setattr(found, field, value)
    return found


def file_of_package(package: str, relative: str) -> Path | None:
    """Returns the path of a file inside an installed package, or `None`; imports nothing."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / relative
        if path.exists():
            return path
    return None


def load_module(name: str, path: Path) -> ModuleType:
    """Loads one Python file or extension module by its path, leaving out its package's __init__."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"Expected a Python module. Received: {path.name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def names_of(enumeration: str) -> dict[int, str]:
    """Returns the names in an enumeration of the schema by their code, such as "BuiltinOperator"."""
    codes = vars(getattr(schema(), enumeration))
    return {code: name for name, code in codes.items() if isinstance(code, int)}

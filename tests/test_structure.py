"""The structure of the package: no import circle, small files, one place for each thing."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "keras_sbn"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "android_project" not in path.parts)
CONVERSION = sorted((PACKAGE / "conversion").rglob("*.py"))

#: Rooms from the top to the bottom: each may import those below it.
ROOMS = (
    ("cli", "demo", "training"),
    ("deployment", "verification", "export", "larq"),
    ("conversion", "from_keras", "hls4ml_model"),
    ("folding",),
    ("layers",),
)


def _module(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path, modules, everywhere=False):
    """The modules of the package that a file imports when it is imported, or anywhere in it."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else _at_import(tree)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _at_import(tree):
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield from ast.walk(node) if isinstance(node, ast.If | ast.Try | ast.With) else [node]


def _graph(files):
    modules = {_module(path) for path in FILES}
    return {_module(path): set(_imports(path, modules)) & modules for path in files}


def test_no_import_circle():
    graph = {name: found - {name} for name, found in _graph(FILES).items()}
    # Importing a module runs the __init__ of its packages, which for keras_sbn itself imports nearly all.
    graph = {name: found - {"keras_sbn"} for name, found in graph.items() if name != "keras_sbn"}
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for other in sorted(graph.get(name, ())):
                visit(other)
            path.pop()
            done.add(name)

    for name in sorted(graph):
        visit(name)


@pytest.mark.parametrize("room", [room for floor in ROOMS for room in floor])
def test_rooms_import_downwards(room):
    floor = next(index for index, names in enumerate(ROOMS) if room in names)
    above = {name for names in ROOMS[:floor] for name in names}
    modules = {_module(path) for path in FILES}
    for path in FILES:
        if path.relative_to(PACKAGE).with_suffix("").parts[0] != room:
            continue
        for name in _imports(path, modules):
            parts = name.split(".")
            if parts[0] == "keras_sbn" and len(parts) > 1:
                assert parts[1] not in above, f"{path.name} imports {name}"


def test_the_file_format_knows_no_layer_and_no_fold():
    modules = {_module(path) for path in FILES}
    for path in [
        *(PACKAGE / "tflite").glob("*.py"),
        *(PACKAGE / "c_code").glob("*.py"),
        *(PACKAGE / "onnx_model").glob("*.py"),
    ]:
        for name in _imports(path, modules):
            assert not name.startswith(
                ("keras.", "keras_sbn.folding", "keras_sbn.conversion", "keras_sbn.layers")
            )
            assert name != "keras", path.name


@pytest.mark.parametrize("path", CONVERSION, ids=lambda path: path.stem)
def test_files_of_the_conversion_are_small(path):
    assert len(path.read_text().splitlines()) <= 350


def test_operators_alone_emit_and_know_versions():
    for path in CONVERSION:
        text = path.read_text()
        if path.name not in ("operators.py", "emitter.py"):
            assert ".emit(" not in text, path.name
            assert not re.search(r"\bversion\s*=", text), path.name


def test_target_names_stand_in_one_list():
    from keras_sbn.conversion.targets import TARGETS

    names = "|".join(TARGETS)
    for path in FILES:
        if path.is_relative_to(PACKAGE / "conversion" / "targets"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.List | ast.Tuple | ast.Set):
                values = [x.value for x in node.elts if isinstance(x, ast.Constant)]
                found = [value for value in values if re.fullmatch(names, str(value))]
                assert len(found) < 2, f"{path.relative_to(ROOT)}:{node.lineno} lists {found}"


def test_nothing_is_left_to_be_implemented():
    count = sum(path.read_text().count("NotImplementedError") for path in CONVERSION)
    assert count <= 2


def test_the_page_on_the_architecture_names_every_file_of_its_rooms():
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([a-z_/0-9]+\.py)`", page))
    known = [name for name in named if (PACKAGE / name).exists() or (ROOT / name).exists()]
    missing = sorted(named - set(known))
    assert missing == []
    for room in ("c_code", "conversion", "hls4ml_model", "onnx_model", "tflite", "verification"):
        files = {
            path.relative_to(PACKAGE).as_posix()
            for path in (PACKAGE / room).rglob("*.py")
            if path.name != "__init__.py"
        }
        assert files - named == set()

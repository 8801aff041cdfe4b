"""The Android example's Kotlin, compiled: the whole of it type-checks, and its preprocessing is Python's.

Needs Java and a Kotlin compiler, named by KOTLINC or on the path; `make test-kotlin` fetches one.
Android's and LiteRT's classes are declarations, in `kotlin/stubs`, of what the example uses, and so are
Gradle's, in `kotlin/gradle`: its scripts are compiled as functions, with what Gradle makes of the
catalogue of versions.
"""

import os
import re
import shutil
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from keras_sbn.deployment import fit_image

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

HERE = Path(__file__).parent
PROJECT = HERE.parents[1] / "examples/android"
SOURCES = PROJECT / "app/src/main"
#: The oldest Kotlin that version 9 of the Android plugin brings.
LANGUAGE = "2.2"
COMPILER = os.environ.get("KOTLINC") or shutil.which("kotlinc")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a Kotlin compiler: make test-kotlin")


def resources():
    """The class R that Android's tools make of the resources."""
    found = {"layout": {path.stem for path in (SOURCES / "res/layout").iterdir()}, "id": set()}
    for path in (SOURCES / "res/layout").iterdir():
        found["id"] |= set(re.findall(r"@\+id/(\w+)", path.read_text()))
    for path in (SOURCES / "res/values").iterdir():
        for element in ElementTree.parse(path).getroot():
            found.setdefault(element.tag, set()).add(element.get("name"))
    lines = [
        f"public static final class {kind} {{ "
        + " ".join(f"public static final int {name} = {i};" for i, name in enumerate(sorted(names)))
        + " }"
        for kind, names in found.items()
    ]
    return "package org.kerassbn.classifier;\npublic final class R {\n" + "\n".join(lines) + "\n}\n"


def accessors(names, leaf):
    """Classes of what Gradle lets scripts write, as `a.b.c`, for names such as `a-b-c`."""
    paths = {tuple(name.split("-")) for name in names}
    nodes = {path[:length] for path in paths for length in range(len(path) + 1)}
    lines = []
    for node in sorted(nodes):
        below = [path for path in nodes if path[:-1] == node and path]
        named = node in paths
        if named and not below:
            continue
        fields = "".join(
            f"    val {path[-1]} = {class_name(path, leaf) if has_below(path, nodes) else leaf}()\n"
            for path in sorted(below)
        )
        lines.append(f"class {class_name(node, leaf)}{f' : {leaf}()' if named else ''} {{\n{fields}}}\n")
    return "".join(lines)


def class_name(path, leaf):
    return "_".join((leaf, *path, "node"))


def has_below(path, nodes):
    return any(node[:-1] == path and node for node in nodes)


def scripts():
    """The Gradle scripts as functions."""
    with open(PROJECT / "gradle/libs.versions.toml", "rb") as file:
        catalogue = tomllib.load(file)
    text = "package gradle\n\n"
    text += accessors(catalogue["plugins"], "Alias") + accessors(catalogue["libraries"], "Dependency")
    root = class_name((), "Dependency")
    text = text.replace(f"class {root} {{\n", "object libs {\n    val plugins = Alias_node()\n")
    for name, receiver in (("settings", "Settings"), ("build", "Project"), ("app/build", "Project")):
        script = (PROJECT / f"{name}.gradle.kts").read_text(encoding="utf-8")
        assert "import " not in script
        text += f"fun {receiver}.{name.replace('/', '_')}() {{\n{script}}}\n"
    return text


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kotlin")
    (folder / "r/org/kerassbn/classifier").mkdir(parents=True)
    (folder / "r/org/kerassbn/classifier/R.java").write_text(resources())
    (folder / "Scripts.kt").write_text(scripts())
    # Each a root of its own: the compiler finds Java by the folders of its packages.
    ours = [HERE / "kotlin" / name for name in ("Fit.kt", "gradle", "stubs")]
    sources = [SOURCES / "kotlin", *ours, folder / "r", folder / "Scripts.kt"]
    options = ["-Werror", "-language-version", LANGUAGE, "-d", str(folder / "classes")]
    done = subprocess.run(
        ["bash", COMPILER, *options, *map(str, sources)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "classes"


def test_the_app_type_checks(classes):
    names = {path.stem for path in (classes / "org/kerassbn/classifier").glob("*.class")}
    assert {"MainActivity", "Classifier", "Preprocessing"} <= names


def test_the_gradle_scripts_type_check(classes):
    assert (classes / "gradle/ScriptsKt.class").exists()


def test_its_preprocessing_is_python_s_bit_for_bit(classes, tmp_path):
    rng = np.random.default_rng(0)
    cases = []
    for _ in range(200):
        rows, columns = rng.integers(1, 40, 2)
        height, width = rng.integers(1, 20, 2)
        image = rng.integers(0, 256, (rows, columns, 3), dtype="uint8")
        cases.append((image, int(height), int(width), int(rng.choice([1, 3]))))
    cases.append((rng.integers(0, 256, (1210, 907, 3), dtype="uint8"), 32, 32, 3))
    cases.append((np.full((300, 5000, 3), 255, "uint8"), 3, 64, 1))
    with open(tmp_path / "in", "wb") as file:
        file.write(struct.pack(">i", len(cases)))
        for image, height, width, channels in cases:
            rows, columns = image.shape[:2]
            file.write(struct.pack(">5i", columns, rows, width, height, channels))
            red, green, blue = (image[..., i].astype(np.uint32) for i in range(3))
            argb = 0x7F000000 | red << 16 | green << 8 | blue
            file.write(argb.astype(">u4").tobytes())
    library = Path(COMPILER).parents[1] / "lib/kotlin-stdlib.jar"
    command = ["java", "-cp", f"{classes}{os.pathsep}{library}", "FitKt"]
    subprocess.run([*command, str(tmp_path / "in"), str(tmp_path / "out")], check=True)
    wanted = [fit_image(*case).tobytes() for case in cases]
    assert (tmp_path / "out").read_bytes() == b"".join(wanted)

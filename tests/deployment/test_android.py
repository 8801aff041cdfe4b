"""`keras-sbn deploy android`: every file that a Gradle build reads, and what they say of each other."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn import cli
from keras_sbn.deployment.android import PROJECT_FILES, project_template

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/android"
ANDROID = "{http://schemas.android.com/apk/res/android}"
RESOURCES = "app/src/main/res"
GRADLE = "app/build.gradle.kts"
LABELS = ["cat", "dog", "große Katze"]


def network(shape=(6, 8, 3)):
    model = keras.Sequential(
        [
            keras.Input(shape),
            keras_sbn.layers.SelfBinarizingConv2D(4, 3),
            keras_sbn.layers.BinaryBatchNormalization(),
            keras_sbn.layers.SelfBinarizingActivation(),
            keras.layers.Flatten(),
            keras_sbn.layers.SelfBinarizingDense(3),
        ]
    )
    keras_sbn.binarize(model)
    return model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A file that takes floats, one that takes the image, and one for LCE with metadata."""
    folder = tmp_path_factory.mktemp("models")
    folded = keras_sbn.fold(network(), input_scaling=(1 / 255, 0))
    keras_sbn.convert(network(), target="tflite").save(folder / "float.tflite")
    keras_sbn.convert(folded, target="tflite").save(folder / "image.tflite")
    keras_sbn.convert(network(), labels=LABELS, input_range=(-1, 1)).save(folder / "lce.tflite")
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    with zipfile.ZipFile(folder / "lce.aar", "w") as archive:
        for name in ("AndroidManifest.xml", "classes.jar", "jni/arm64-v8a/libtensorflowlite_jni.so"):
            archive.writestr(name, name)
    return folder


@pytest.fixture(scope="module")
def project(models, tmp_path_factory):
    out = tmp_path_factory.mktemp("project") / "app"
    arguments = ["--model", str(models / "image.tflite"), "--labels", str(models / "labels.txt")]
    assert cli.main(["deploy", "android", *arguments, "--out", str(out)]) == 0
    return out


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_project_is_the_example_with_the_model(project, models):
    assets = [
        f"app/src/main/assets/{name}" for name in ("input_values.bin", "labels.txt", "model.tflite")
    ]
    assert files_of(project) == sorted([*PROJECT_FILES, *assets])
    for name in PROJECT_FILES:
        assert (project / name).read_bytes() == (EXAMPLE / name).read_bytes()
    assert (project / assets[2]).read_bytes() == (models / "image.tflite").read_bytes()
    assert (project / assets[1]).read_text(encoding="utf-8").splitlines() == LABELS
    assert (project / assets[0]).read_bytes() == bytes(range(256))


def test_the_example_has_no_other_files():
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--cached", "--exclude-standard", "examples/android"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a clone of the repository")
    assert sorted(listed.stdout.split()) == sorted(f"examples/android/{name}" for name in PROJECT_FILES)


def test_the_wheel_carries_the_project():
    with open(ROOT / "pyproject.toml", "rb") as file:
        targets = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]
    place = targets["wheel"]["force-include"]["examples/android"]
    wanted = Path(keras_sbn.deployment.android.__file__).parent / "android_project"
    assert place == wanted.relative_to(ROOT).as_posix()
    assert "examples" in targets["sdist"]["include"]
    assert project_template() in (wanted, EXAMPLE)


def test_what_gradle_reads_is_there(project):
    """Settings name modules, modules have builds, builds name plugins and libraries of the catalogue."""
    settings = (project / "settings.gradle.kts").read_text()
    modules = re.findall(r'include\(":(\w+)"\)', settings)
    assert modules == ["app"]
    assert "google()" in settings
    assert "mavenCentral()" in settings
    with open(project / "gradle/libs.versions.toml", "rb") as file:
        catalogue = tomllib.load(file)
    for entry in [*catalogue["libraries"].values(), *catalogue["plugins"].values()]:
        assert re.fullmatch(r"[\d.]+", catalogue["versions"][entry["version"]["ref"]])
    root = (project / "build.gradle.kts").read_text()
    named = re.findall(r"libs\.([\w.]+)", root)
    for module in modules:
        build = (project / module / "build.gradle.kts").read_text()
        assert balanced(build)
        named += re.findall(r"libs\.([\w.]+)", build)
        assert set(re.findall(r"libs\.plugins\.([\w.]+)", build)) <= set(
            re.findall(r"libs\.plugins\.([\w.]+)", root)
        )
    known = {f"plugins.{name.replace('-', '.')}" for name in catalogue["plugins"]}
    known |= {name.replace("-", ".") for name in catalogue["libraries"]}
    assert set(named) == known
    wrapper = dict(
        line.split("=", 1)
        for line in (project / "gradle/wrapper/gradle-wrapper.properties").read_text().splitlines()
    )
    (gradle,) = re.findall(r"gradle-(\d+\.\d+)(?:\.\d+)?-bin\.zip$", wrapper["distributionUrl"])
    readme = (project / "README.md").read_text(encoding="utf-8")
    assert f"Gradle {gradle} or later" in readme
    assert f"Android Gradle Plugin {catalogue['versions']['agp'].rsplit('.', 1)[0]}" in readme
    for line in (project / "gradle.properties").read_text().splitlines():
        assert re.fullmatch(r"[\w.-]+=\S.*", line)


def balanced(text):
    code = re.sub(r'//.*|"[^"]*"', "", text)
    return all(code.count(a) == code.count(b) for a, b in ("()", "{}", "[]"))


def test_manifest_and_resources_name_what_is_there(project):
    code = {path.name: path.read_text() for path in project.rglob("*.kt")}
    build = (project / "app/build.gradle.kts").read_text()
    (namespace,) = re.findall(r'namespace = "([\w.]+)"', build)
    assert all(f"package {namespace}\n" in text for text in code.values())
    folder = project / "app/src/main/kotlin" / namespace.replace(".", "/")
    assert sorted(path.name for path in folder.iterdir()) == sorted(code)
    manifest = ElementTree.parse(project / "app/src/main/AndroidManifest.xml").getroot()
    (activity,) = manifest.iter("activity")
    assert (folder / f"{activity.get(ANDROID + 'name').removeprefix('.')}.kt").exists()
    assert activity.get(ANDROID + "exported") == "true"
    defined = set()
    texts = [*code.values()]
    for path in (project / RESOURCES).rglob("*.xml"):
        tree = ElementTree.parse(path).getroot()
        texts.append(path.read_text())
        if path.parent.name == "values":
            defined |= {(element.tag, element.get("name")) for element in tree}
        else:
            defined.add((path.parent.name, path.stem))
        ids = [element.get(ANDROID + "id") for element in tree.iter()]
        defined |= {("id", name.removeprefix("@+id/")) for name in ids if name}
    texts.append((project / "app/src/main/AndroidManifest.xml").read_text())
    used = {
        pair
        for text in texts
        for pair in re.findall(r"(?<!android:)@(string|style|drawable|layout)/(\w+)", text)
    }
    used |= {pair for text in code.values() for pair in re.findall(r"\bR\.(\w+)\.(\w+)", text)}
    assert used <= defined
    assert {kind for kind, _ in used} == {"string", "style", "drawable", "layout", "id"}


def test_the_code_opens_the_assets_that_are_written(project):
    code = (project / "app/src/main/kotlin/org/kerassbn/classifier/Classifier.kt").read_text()
    names = {path.name for path in (project / "app/src/main/assets").iterdir()}
    assert set(re.findall(r'assets(?:\.open\(|, )"([\w.]+)"', code)) == names
    assert "noCompress" in (project / "app/build.gradle.kts").read_text()


def test_a_float_model_gets_the_values_it_was_trained_on(models, tmp_path, capsys):
    command = [
        "deploy",
        "android",
        "--model",
        str(models / "float.tflite"),
        "--out",
        str(tmp_path / "out"),
    ]
    command += ["--labels", str(models / "labels.txt")]
    assert cli.main(command) == 2
    assert "--input-range 0 1 if the network was trained on image / 255" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert cli.main([*command, "--input-range", "0", "1"]) == 0
    values = np.fromfile(tmp_path / "out/app/src/main/assets/input_values.bin", "<f4")
    np.testing.assert_array_equal(values, np.arange(256, dtype="float32") / np.float32(255))


def deploy(model, out, *more):
    return cli.main(["deploy", "android", "--model", str(model), "--out", str(out), *map(str, more)])


def test_metadata_are_enough_and_the_aar_of_lce_goes_into_the_project(models, tmp_path, capsys):
    assert deploy(models / "lce.tflite", tmp_path, "--aar", models / "lce.aar", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["needs_lce"] is True
    assert sorted(said["files"]) == files_of(tmp_path)
    values = np.fromfile(tmp_path / "app/src/main/assets/input_values.bin", "<f4")
    assert (values[0], values[255]) == (-1, 1)
    labels = (tmp_path / "app/src/main/assets/labels.txt").read_text(encoding="utf-8")
    assert labels.split("\n")[2] == LABELS[2]
    (aar,) = (tmp_path / "app").glob("libs/*.aar")
    assert aar.read_bytes() == (models / "lce.aar").read_bytes()
    assert re.search(r'fileTree\("libs"\) \{ include\("\*\.aar"\) \}', (tmp_path / GRADLE).read_text())


def test_a_model_for_lce_without_its_aar_is_an_error_that_says_how_to_get_one(models, tmp_path, capsys):
    assert deploy(models / "lce.tflite", tmp_path / "app") == 2
    said = capsys.readouterr().err
    assert "larq_compute_engine/tflite/java/build_lce_aar.sh" in said
    assert "--aar FILE" in said
    assert "convert with --target tflite" in said
    assert deploy(models / "lce.tflite", tmp_path / "app", "--aar", models / "labels.txt") == 2
    assert "Expected an AAR of an interpreter" in capsys.readouterr().err
    assert deploy(models / "lce.tflite", tmp_path / "app", "--aar", models / "missing.aar") == 2
    assert "missing.aar" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_project_that_is_there_gets_the_new_model_and_keeps_its_code_and_aar(models, tmp_path):
    assert deploy(models / "lce.tflite", tmp_path, "--aar", models / "lce.aar") == 0
    assert "build_lce_aar" in (tmp_path / "README.md").read_text(encoding="utf-8")
    (tmp_path / "build.gradle.kts").write_text("// mine\n")
    image = models / "image.tflite"
    assert deploy(image, tmp_path, "--labels", models / "labels.txt") == 0
    assert (tmp_path / "build.gradle.kts").read_text() == "// mine\n"
    assert (tmp_path / "app/src/main/assets/model.tflite").read_bytes() == image.read_bytes()
    assert deploy(models / "lce.tflite", tmp_path) == 0
    assert len(files_of(tmp_path)) == len(PROJECT_FILES) + 4


@pytest.mark.parametrize("there", [True, False])
def test_what_is_interrupted_leaves_no_half_of_a_project(models, tmp_path, monkeypatch, capsys, there):
    out = tmp_path / "app"
    if there:
        assert deploy(models / "lce.tflite", out, "--aar", models / "lce.aar") == 0
    before = {name: (out / name).read_bytes() for name in files_of(tmp_path / "app")} if there else None
    write = Path.write_bytes

    def full(path, content):
        if path.name == "labels.txt":
            raise OSError(28, "No space left on device", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert deploy(models / "image.tflite", out, "--labels", models / "labels.txt") == 2
    assert "No space left on device" in capsys.readouterr().err
    if there:
        assert {name: (out / name).read_bytes() for name in files_of(out)} == before
        assert not [path for path in out.iterdir() if path.name.startswith(".keras_sbn")]
    else:
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error(models, tmp_path, capsys):
    (tmp_path / "file").write_text("precious")
    arguments = ("--labels", models / "labels.txt")
    assert deploy(models / "image.tflite", tmp_path / "file/app", *arguments) == 2
    assert "Expected a folder that can be written" in capsys.readouterr().err
    assert deploy(models / "image.tflite", tmp_path / "file", *arguments) == 2
    assert "which holds something else" in capsys.readouterr().err
    if os.geteuid():
        (tmp_path / "locked").mkdir(mode=0o500)
        assert deploy(models / "image.tflite", tmp_path / "locked/app", *arguments) == 2
        assert "Expected a folder that can be written. Permission denied" in capsys.readouterr().err
        (tmp_path / "locked").chmod(0o700)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_folder_that_holds_something_else_is_left_alone(models, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("precious")
    assert (
        cli.main(["deploy", "android", "--model", str(models / "lce.tflite"), "--out", str(tmp_path)])
        == 2
    )
    assert "which holds something else" in capsys.readouterr().err
    assert files_of(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        ("image.tflite", [], "Give them (--labels, a text file of a class a line)"),
        (
            "image.tflite",
            ["--labels", "three", "--input-range", "0", "1"],
            "takes the 8-bit image itself",
        ),
        ("image.tflite", ["--labels", "two"], "each of the 3 classes of"),
        ("lce.tflite", ["--input-range", "1", "0"], "low below high"),
        ("labels.txt", [], "Expected a TFLite model"),
        ("missing.tflite", [], "No such file"),
    ],
)
def test_what_does_not_fit_is_an_error(models, tmp_path, capsys, model, more, message):
    (tmp_path / "three").write_text("a\nb\nc\n")
    (tmp_path / "two").write_text("a\nb\n")
    more = [str(tmp_path / word) if word in ("two", "three") else word for word in more]
    command = ["deploy", "android", "--model", str(models / model), "--out", str(tmp_path / "out"), *more]
    assert cli.main(command) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_of_no_images_is_an_error(tmp_path, capsys):
    model = keras.Sequential([keras.Input((8,)), keras_sbn.layers.SelfBinarizingDense(3)])
    keras_sbn.binarize(model)
    path = keras_sbn.convert(model).save(tmp_path / "vector.tflite")
    assert cli.main(["deploy", "android", "--model", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "Expected a model of images" in capsys.readouterr().err

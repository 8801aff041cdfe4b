"""The Raspberry Pi example: the Python runs, and the C++ type-checks and preprocesses as Python does."""

import importlib.machinery
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn.deployment import fit_image
from keras_sbn.tflite.kernels import has_kernels

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLE = ROOT / "examples/raspberry_pi"
COMPILER = shutil.which("g++") or shutil.which("clang++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Werror"]


INCLUDE = ["-I", str(EXAMPLE), "-I", str(ROOT / "kernels/include")]


@needs_compiler
def test_the_program_type_checks():
    include = [*INCLUDE, "-isystem", str(HERE / "cpp/stubs")]
    subprocess.run([COMPILER, *STRICT, "-fsyntax-only", *include, EXAMPLE / "classify.cc"], check=True)


@needs_compiler
@pytest.mark.skipif("LITERT_INCLUDE" not in os.environ, reason="needs LiteRT's headers")
@pytest.mark.filterwarnings("ignore")
def test_the_program_classifies_as_keras(tmp_path, rng):
    """LITERT_INCLUDE: a clone of google-ai-edge/LiteRT; the library is that of the Python package."""
    library = Path(pytest.importorskip("ai_edge_litert").__path__[0])
    program, objects = tmp_path / "classify", []
    for source in (ROOT / "kernels/src").glob("*.c"):
        objects.append(tmp_path / f"{source.stem}.o")
        flags = ["-std=c11", "-O1", "-ffp-contract=off", "-c", source, "-o", objects[-1]]
        subprocess.run([shutil.which("cc") or "gcc", *flags], check=True)
    include = [*INCLUDE, "-isystem", os.environ["LITERT_INCLUDE"]]
    link = [*objects, f"-L{library}", "-lLiteRt", f"-Wl,-rpath,{library}", "-lpthread", "-o", program]
    subprocess.run([COMPILER, *STRICT, *include, EXAMPLE / "classify.cc", *link], check=True)
    model = network()
    path = keras_sbn.convert(keras_sbn.fold(model, input_scaling=(1 / 255, 0))).save(
        tmp_path / "a.tflite"
    )
    photograph = rng.integers(0, 256, (30, 31, 3), dtype="uint8")
    (tmp_path / "a.ppm").write_bytes(b"P6 31 30 255\n" + photograph.tobytes())
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    command = [program, path, tmp_path / "a.ppm", tmp_path / "labels.txt"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    image = fit_image(photograph, 6, 8)[None] / np.float32(255)
    scores = model.predict(image, verbose=0)[0]
    order = np.argsort(-scores, kind="stable")
    *top, _ = done.stdout.splitlines()
    assert [line.split()[1] for line in top] == ["abcde"[i] for i in order]
    np.testing.assert_allclose([float(line.split()[0]) for line in top], scores[order], rtol=1e-5)


@needs_compiler
def test_its_preprocessing_is_python_s_bit_for_bit(tmp_path):
    program = tmp_path / "fit"
    command = [COMPILER, *STRICT, "-O1", "-I", str(EXAMPLE), HERE / "cpp/fit.cc", "-o", program]
    subprocess.run(command, check=True)
    rng = np.random.default_rng(0)
    given, wanted = b"", b""
    for _ in range(200):
        rows, columns = rng.integers(1, 40, 2)
        height, width = (int(size) for size in rng.integers(1, 20, 2))
        channels = int(rng.choice([1, 3]))
        image = rng.integers(0, 256, (rows, columns, 3), dtype="uint8")
        given += f"{columns} {rows} {width} {height} {channels}\n".encode() + image.tobytes()
        wanted += fit_image(image, height, width, channels).tobytes()
    done = subprocess.run([program], input=b"200\n" + given, capture_output=True, check=True)
    assert done.stdout == wanted


def test_cmake_names_what_is_there():
    text = (EXAMPLE / "CMakeLists.txt").read_text()
    (sources,) = re.findall(r"add_executable\(classify ([\w. ]+)\)", text)
    assert all((EXAMPLE / name).exists() for name in sources.split())


def test_cmake_takes_ruy_before_it_reads_what_asks_for_it():
    """Without it LCE registers its reference kernel, 17.8 times the instructions."""
    text = (EXAMPLE / "lce/CMakeLists.txt").read_text()
    ruy, folder = text.index("set(TFLITE_ENABLE_RUY ON CACHE BOOL"), text.index('add_subdirectory("${LCE')
    assert ruy < folder
    assert "FORCE)" in text[ruy:folder]


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs CMake")
def test_cmake_says_what_is_missing(tmp_path):
    for folder, message in (
        (EXAMPLE, "Expected -DLITERT_INCLUDE=<a clone of google-ai-edge/LiteRT>."),
        (EXAMPLE / "lce", "Expected -DLCE_DIR=<a clone of larq/compute-engine>."),
    ):
        command = ["cmake", "-S", str(folder), "-B", str(tmp_path / folder.name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert message in done.stderr


@pytest.fixture
def classify(monkeypatch, capsys):
    """Runs classify.py in this process, in whichever TFLite interpreter is installed."""
    pytest.importorskip("PIL")
    if importlib.util.find_spec("ai_edge_litert") is None:
        interpreter = pytest.importorskip("tensorflow.lite.python.interpreter")
        package = types.ModuleType("ai_edge_litert")
        package.__spec__ = importlib.machinery.ModuleSpec("ai_edge_litert", None)
        monkeypatch.setitem(sys.modules, "ai_edge_litert", package)
        monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", interpreter)
    monkeypatch.syspath_prepend(str(ROOT / "keras_sbn/deployment"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["classify.py", *map(str, arguments)])
        runpy.run_path(str(EXAMPLE / "classify.py"), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    yield run
    monkeypatch.delitem(sys.modules, "preprocessing", raising=False)


def network():
    model = keras.Sequential(
        [
            keras.Input((6, 8, 3)),
            keras_sbn.layers.SelfBinarizingConv2D(16, 3),
            keras_sbn.layers.BinaryBatchNormalization(),
            keras_sbn.layers.SelfBinarizingActivation(),
            keras.layers.Flatten(),
            keras_sbn.layers.SelfBinarizingDense(5),
        ]
    )
    keras_sbn.binarize(model)
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("takes_image", [True, False])
@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_prints_the_classes_that_keras_gives(classify, tmp_path, rng, monkeypatch, target, takes_image):
    from PIL import Image

    if target == "lce" and not has_kernels():
        pytest.skip("needs keras-sbn-kernels and LiteRT")
    if target == "tflite":
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == "keras_sbn_kernels" else find(name)
        )
    model, labels = network(), list("abcde")
    photograph = rng.integers(0, 256, (30, 31, 3), dtype="uint8")
    Image.fromarray(photograph).save(tmp_path / "photo.png")
    folded = keras_sbn.fold(model, input_scaling=(1 / 255, 0)) if takes_image else model
    path = tmp_path / "model.tflite"
    keras_sbn.convert(folded, target=target, labels=labels).save(path)
    more = [] if takes_image else ["--input-range", 0, 1]
    *top, latency = classify(path, tmp_path / "photo.png", "--top", 3, "--runs", 2, *more)
    image = fit_image(photograph, 6, 8)[None]
    scores = folded.predict(image if takes_image else image / np.float32(255), verbose=0)[0]
    order = np.argsort(-scores, kind="stable")[:3]
    assert [line.split() for line in top] == [[f"{scores[i]:.3f}", labels[i]] for i in order]
    name = "LiteRT" if target == "tflite" else r"one-bit kernels, \w+"
    assert re.fullmatch(rf"\d+\.\d\d ms, the median of 2 runs, {name}", latency)


@pytest.mark.filterwarnings("ignore")
def test_missing_labels_are_an_error(classify, tmp_path):
    from PIL import Image

    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    path = keras_sbn.convert(network(), target="tflite").save(tmp_path / "model.tflite")
    with pytest.raises(SystemExit, match=r"holds no labels. Give them: --labels labels\.txt"):
        classify(path, tmp_path / "photo.png")
    (tmp_path / "labels.txt").write_text("a\n")
    with pytest.raises(SystemExit, match=r"expected 5 labels. Received: 1"):
        classify(path, tmp_path / "photo.png", "--labels", tmp_path / "labels.txt")

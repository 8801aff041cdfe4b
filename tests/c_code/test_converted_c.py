"""C code as the result of a conversion: what is written, what is refused, and that it is verified."""

import pickle
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import digit_network, images, randomize

import keras_sbn
from keras_sbn import layers
from keras_sbn.c_code.interpreter import why_no_compiler
from keras_sbn.c_code.source import identifier, plain
from keras_sbn.extras import why_not_run

ROOT = Path(__file__).parents[2]
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.fixture(scope="module")
def model():
    model = digit_network()
    randomize(model, np.random.default_rng(0))
    keras_sbn.binarize(model)
    return model


@pytest.fixture(scope="module")
def converted(model):
    return keras_sbn.convert(model, "c", labels=["a?", 'b"\\', "ü1"])


def test_a_header_and_a_source(converted, tmp_path):
    path = converted.save(tmp_path / "digits.c")
    header = (tmp_path / "digits.h").read_text()
    assert path.name == "digits.c"
    assert "void digits_run(const float *input, float *output);" in header
    assert "#define DIGITS_INPUT_SIZE 84\n" in header
    assert "malloc" not in path.read_text()
    assert repr(converted).startswith("<ConvertedC target='c'")


@needs_gcc
def test_a_program_in_c_and_one_in_cpp(converted, tmp_path):
    """The header is one of C++ as well, and the labels are what was given."""
    converted.save(tmp_path / "digits.c")
    (tmp_path / "main.c").write_text(
        '#include "digits.h"\n#include <stdio.h>\n'
        "int main(void) { for (int i = 0; i < 3; i++) puts(digits_labels[i]); return 0; }\n"
    )
    (tmp_path / "main.cpp").write_text((tmp_path / "main.c").read_text())
    strict = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(["gcc", "-std=c99", *strict, "-c", "digits.c"], cwd=tmp_path, check=True)
    mains = ["main.c", "main.cpp"] if shutil.which("g++") else ["main.c"]
    for main in mains:
        compiler = ["gcc", "-std=c99"] if main.endswith(".c") else ["g++", "-std=c++11"]
        subprocess.run([*compiler, *strict, main, "digits.o", "-o", "main"], cwd=tmp_path, check=True)
        said = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, check=True).stdout
        assert said.decode().splitlines() == ["a?", 'b"\\', "ü1"]


@needs_gcc
def test_the_example(converted, tmp_path, rng):
    """The program of the page on microcontrollers, with another network of its interface."""
    network = [layers.SelfBinarizingConv2D(3, 8), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((8, 8, 1)), *network])
    keras_sbn.binarize(model)
    folded = keras_sbn.fold(model, input_scaling=(1.0, 0.0))
    code = keras_sbn.convert(folded, "c", labels=["zero", "one", "two"])
    code.save(tmp_path / "digits.c")
    example = ROOT / "examples" / "microcontroller" / "main.c"
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{tmp_path}"]
    command = ["gcc", *strict, str(example), "digits.c", "-o", "digits"]
    subprocess.run(command, cwd=tmp_path, check=True)
    images = rng.integers(0, 256, (5, 8, 8, 1)).astype("uint8")
    run = [str(tmp_path / "digits")]
    said = subprocess.run(run, input=images.tobytes(), capture_output=True, check=True).stdout
    classes = np.asarray(model.predict_on_batch(images.astype("float32"))).argmax(-1)
    assert said.decode().split() == [("zero", "one", "two")[found] for found in classes]


@needs_gcc
@pytest.mark.tensorflow
def test_it_is_verified_as_a_file_is(converted, model, rng):
    x = images(rng, (7, 6, 2), 20)
    found = keras_sbn.verify(converted, model, x, workers=2)
    assert found
    assert found.differing_outputs == 0
    assert found.runtime.startswith("C, compiled by ")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(converted)).predict(x), converted.predict(x))


@needs_gcc
@pytest.mark.tensorflow
def test_the_first_layer_that_differs_is_named(converted, model, rng):
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    keras_sbn.binarize(other)
    other.get_layer("conv_2").kernel.assign(-model.get_layer("conv_2").kernel)
    found = keras_sbn.verify(converted, other, images(rng, (7, 6, 2), 20))
    assert not found
    # What it reads is the float layer before, which agrees.
    assert found.first_differing_layer.startswith("self_binarizing_activation")


def test_the_report_says_what_it_takes(converted):
    report = converted.report
    code = converted.code("x")
    assert (report.file_bytes, report.arena_bytes) == (code.constant_bytes, code.arena_bytes)
    lines = str(report).splitlines()
    assert lines[-2].startswith(f"constants of {code.constant_bytes:,} bytes, ")
    assert lines[-1] == f"arena of {code.arena_bytes:,} bytes"
    assert f"float floats[{code.arena_bytes // 4}];" in code.source
    # One bit a weight, filled up to words, and a threshold of 4 bytes a filter.
    conv = next(row for row in report.layers if row.name == "conv_2")
    assert conv.kernel_bytes == 40 * 3 * 3 * 4
    assert keras_sbn.convert(_small()).report.arena_bytes is None


def _small():
    model = keras.Sequential([keras.Input((32,)), layers.SelfBinarizingDense(4)])
    keras_sbn.binarize(model)
    return model


def test_other_files_as_c(model, tmp_path):
    """What another target wrote, if it has the operators."""
    lce = keras_sbn.convert(model, "lce")
    lce.save(tmp_path / "model.tflite")
    loaded = keras_sbn.ConvertedC.load(tmp_path / "model.tflite")
    assert loaded.target == "c"
    assert keras_sbn.ConvertedC.load(loaded) is loaded
    assert "sbn_binary_convolution" in loaded.code().calls
    keras_sbn.convert(model, "tflite").save(tmp_path / "stock.tflite")
    with pytest.raises(ValueError, match=r"stock\.tflite: Expected .* C function"):
        keras_sbn.ConvertedC.load(tmp_path / "stock.tflite")


@pytest.mark.parametrize("name", ["model.tflite", "model", "2.c", "my-model.c", "int.c"])
def test_paths_that_are_none(converted, name, tmp_path):
    with pytest.raises(ValueError, match="Expected the path of a C source whose name is one in C"):
        converted.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_int8_is_refused(model):
    x = np.zeros((4, 7, 6, 2), "float32")
    with pytest.raises(ValueError, match=r"activations='float32' with target='c'.*target='tflite'"):
        keras_sbn.convert(model, "c", activations="int8", representative_data=x)


def test_c_is_not_read(converted, tmp_path):
    path = converted.save(tmp_path / "digits.c")
    with pytest.raises(ValueError, match=r"Received: .*digits\.c, a form that is written and not read"):
        keras_sbn.ConvertedModel.load(path)


def test_without_a_compiler(converted, monkeypatch, tmp_path):
    """It converts and saves, and does not run."""
    assert why_no_compiler() is None or "apt-get install gcc" in why_no_compiler()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    reason = "none of the C compilers cc, gcc, clang is installed"
    assert reason in why_not_run("c")
    converted.save(tmp_path / "digits.c")
    fresh = keras_sbn.convert(_small(), "c")
    with pytest.raises(ImportError, match=reason):
        fresh.predict(np.ones((1, 32), "float32"))
    monkeypatch.setenv("CC", "nowhere-cc")
    with pytest.raises(ImportError, match=r"'nowhere-cc', is not found; unset CC"):
        fresh.predict(np.ones((1, 32), "float32"))


def test_more_products_than_the_engine_sums():
    """The limits of LCE's kernels are none of the C code."""
    model = keras.Sequential([keras.Input((65_056,)), layers.SelfBinarizingDense(1, binarize_input=True)])
    keras_sbn.binarize(model)
    with pytest.raises(ValueError, match="65,024"):
        keras_sbn.convert(model, "lce")
    assert keras_sbn.convert(model, "c").report.layers[-1].kind in ("binary", "moves")


def test_remarks_that_would_end_a_comment():
    assert plain("a */ b /* c // d\\ é/é") == "a _ b _ c _ d_ _/_"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b:0", "a_b_0"),
        ("1st", "_1st"),
        ("int", "int_"),
        ("", "value"),
        ("größe", "gr_e"),
        ("x", "x_2"),
    ],
)
def test_names_as_c_takes_them(name, expected):
    assert identifier(name, ["x"]) == expected

import os

import keras
import pytest
from conftest import crashing, digit_network

import keras_sbn


@pytest.fixture
def paths(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 4)), keras_sbn.layers.SelfBinarizingConv2D(4, 3)])
    keras_sbn.binarize(model)
    targets = ("lce", "tflite")
    return [keras_sbn.convert(model, target=t).save(tmp_path / f"{t}.tflite") for t in targets]


def test_measures_files_side_by_side(paths, monkeypatch):
    # Nothing of the network is binary, as it has one layer: neither file needs LCE.
    found = keras_sbn.benchmark(paths, runs=5, num_threads=2)
    assert [latency.file for latency in found] == [str(path) for path in paths]
    for path, latency in zip(paths, found, strict=True):
        assert latency.file_bytes == path.stat().st_size
        assert (latency.runs, latency.num_threads) == (5, 2)
        assert latency.runtime in ("TensorFlow Lite, XNNPACK", "LiteRT, XNNPACK")
        assert 0 < latency.low_ms <= latency.median_ms <= latency.high_ms


def test_names_the_binary_kernel_that_is_fastest_here(tmp_path, monkeypatch):
    from keras_sbn.tflite import interpreter
    from keras_sbn.verification import latency

    model = keras.Sequential(
        [keras.Input((8, 8, 4)), keras_sbn.layers.SelfBinarizingConv2D(4, 3, binarize_input=True)]
    )
    keras_sbn.binarize(model)
    path = keras_sbn.convert(model).save(tmp_path / "model.tflite")
    for machine, runtime in (
        ("x86_64", "LCE, indirect kernel, XNNPACK"),
        ("aarch64", "LCE, default kernel"),
    ):
        monkeypatch.setattr(interpreter.platform, "machine", lambda machine=machine: machine)
        assert latency.benchmark([path], runs=1, runtime="lce")[0].runtime == runtime
    (found,) = latency.benchmark([path], runs=1, kernel="reference", xnnpack=False)
    assert found.runtime == "LCE, reference kernel"
    with pytest.warns(DeprecationWarning, match=r"is called Latency\.runtime"):
        assert found.kernels == found.runtime


def test_takes_files_as_paths_as_bytes_and_as_conversions(paths):
    content = paths[0].read_bytes()
    converted = keras_sbn.ConvertedModel.load(paths[1])
    found = keras_sbn.benchmark([paths[0], content, converted], runs=1)
    names = [str(paths[0]), f"a file of {len(content):,} bytes", str(paths[1])]
    assert [latency.file for latency in found] == names


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_files_that_are_not_trusted_run_in_processes_of_their_own(tmp_path):
    model = digit_network()
    keras_sbn.binarize(model)
    converted = keras_sbn.convert(model)
    good, bad = tmp_path / "good.tflite", tmp_path / "bad.tflite"
    good.write_bytes(converted.content)
    bad.write_bytes(crashing(converted.content))
    (found,) = keras_sbn.benchmark([good], runs=2, isolated=True)
    assert found.median_ms > 0
    with pytest.raises(RuntimeError, match=r"bad\.tflite: .*ended by signal SIGSEGV"):
        keras_sbn.benchmark([good, bad], runs=2, isolated=True, runtime="lce")


def test_an_error_names_the_file(tmp_path):
    path = tmp_path / "none.tflite"
    path.write_bytes(b"no model at all")
    with pytest.raises(ValueError, match=r"none\.tflite: Expected a TFLite model"):
        keras_sbn.benchmark([path])
    with pytest.raises(ValueError, match=r"none\.tflite: Expected a TFLite model"):
        keras_sbn.inspect(path)
    with pytest.raises(ValueError, match=r"as bytes, or as a ConvertedModel\. Received: int"):
        keras_sbn.benchmark([3])


@pytest.mark.parametrize("wrong", [{"runs": 0}, {"num_threads": -1}])
def test_numbers_that_are_not_positive(paths, wrong):
    with pytest.raises(ValueError, match="to be positive"):
        keras_sbn.benchmark(paths, **wrong)

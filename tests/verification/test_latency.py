import keras
import pytest

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
        assert latency.kernels == "TFLite, XNNPACK"
        assert 0 < latency.low_ms <= latency.median_ms <= latency.high_ms


def test_names_the_binary_kernel_that_is_fastest_here(tmp_path, monkeypatch):
    from keras_sbn.tflite import interpreter
    from keras_sbn.verification import latency

    model = keras.Sequential(
        [keras.Input((8, 8, 4)), keras_sbn.layers.SelfBinarizingConv2D(4, 3, binarize_input=True)]
    )
    keras_sbn.binarize(model)
    path = keras_sbn.convert(model).save(tmp_path / "model.tflite")
    for machine, kernels in (("x86_64", "LCE, indirect"), ("aarch64", "LCE, default")):
        monkeypatch.setattr(interpreter.platform, "machine", lambda machine=machine: machine)
        assert latency.benchmark([path], runs=1)[0].kernels == kernels


@pytest.mark.parametrize("wrong", [{"runs": 0}, {"num_threads": -1}])
def test_numbers_that_are_not_positive(paths, wrong):
    with pytest.raises(ValueError, match="to be positive"):
        keras_sbn.benchmark(paths, **wrong)

"""Arm's compiler for the Ethos-U: all operators of the networks on the NPU, about a bit a weight."""

import numpy as np
import pytest
from conftest import needs_new_litert, randomize

import keras_sbn
from keras_sbn import models
from keras_sbn.cli import main
from keras_sbn.extras import installed
from keras_sbn.tflite import npu
from keras_sbn.tflite.npu import compile_for_npu

pytestmark = needs_new_litert
needs_vela = pytest.mark.skipif(not installed("ethosu"), reason="ethos-u-vela is not installed")


def _file(build, shape, target="micro", **options):
    rng = np.random.default_rng(0)
    model = build(shape, classifier_activation=None, **options)
    randomize(model, rng)
    keras_sbn.binarize(model)
    data = rng.integers(0, 256, (2, *shape)).astype("float32") / 255
    if build is not models.QuickNetSmall:
        model = keras_sbn.fold(model, input_scaling=(1 / 255, 0.0))
        data = rng.integers(0, 256, (2, *shape), "uint8")
    rounded = target == "micro" and build is models.QuickNetSmall
    return keras_sbn.convert(model, target, representative_data=data, allow_rounded_signs=rounded)


@needs_vela
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("build", "shape", "options"),
    [
        (models.BinaryNet, (32, 32, 3), {"alpha": 1 / 4}),
        (models.TinyConv, (8, 8, 1), {}),
        (models.QuickNetSmall, (32, 32, 3), {"alpha": 1 / 8, "classes": 10}),
    ],
)
def test_every_operator_runs_on_the_npu(build, shape, options):
    converted = _file(build, shape, **options)
    found = compile_for_npu(converted.content, "ethos-u55-128")
    assert found.on_cpu == ()
    # Fused activations are operators there.
    assert len(found.on_npu) >= sum(len(row.operators) for row in converted.report.layers) - 2
    assert f"{len(found.on_npu)} of {len(found.on_npu)} operators run on the NPU" in str(found)
    if build is models.BinaryNet:
        assert found.weights == converted.report.weights
        assert 1 < found.bits_per_weight < 1.1
        assert found.weight_bytes < found.flash_bytes < len(converted.content) / 5


@needs_vela
def test_operators_beside_the_npu_are_named(tmp_path, capsys):
    converted = _file(models.TinyConv, (8, 8, 1), "tflite", alpha=1 / 8)
    path = converted.save(tmp_path / "float.tflite")
    found = compile_for_npu(converted.content, "ethos-u85-256")
    assert any("classifier" in operator for operator in found.on_cpu)
    assert main(["inspect", str(path), "--npu", "ethos-u55-128"]) == 0
    printed = capsys.readouterr().out
    assert "on the CPU: " in printed
    assert "TensorFlow Lite Micro" in printed


@needs_vela
def test_what_vela_refuses_says_why():
    with pytest.raises(ValueError, match="vela compiles for ethos-u55-128"):
        compile_for_npu(b"\x1c\x00\x00\x00TFL3" + bytes(40), "ethos-u55-128")


def test_an_unknown_npu_is_refused():
    with pytest.raises(ValueError, match=r"ethos-u55-128.*npu='ethos-u1'"):
        compile_for_npu(b"", "ethos-u1")


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(npu.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"ethos-u-vela, which is not installed: .*\[vela\]"):
        compile_for_npu(b"", "ethos-u55-128")

"""Ten networks that were written for Keras become binary, fold, convert, and equal their files."""

from pathlib import Path

import keras
import pytest
from binary_models import layer_table
from float_models import assert_files_equal, harden
from keras_networks import NETWORKS

import keras_sbn

PAGE = Path(__file__).parent.parent.parent / "docs" / "binary_models.md"
#: Networks with shortcuts of their own, or with room for new ones.
RESIDUAL = ("resnet_v1", "resnet_v2", "cifar_vgg")
CASES = [(name, "vgg") for name in NETWORKS] + [(name, "bireal") for name in RESIDUAL]


@pytest.mark.tensorflow
@pytest.mark.parametrize(("name", "policy"), CASES)
def test_becomes_binary_and_equals_its_files(name, policy, rng):
    # The names that Keras gives are those of the page.
    keras.utils.clear_session()
    model = NETWORKS[name]()
    result = keras_sbn.binary_model(model, policy=policy)
    if policy == "vgg":
        assert layer_table(result) in PAGE.read_text(encoding="utf-8")
    binary = result.model
    for tensors in ("inputs", "outputs"):
        old, new = (keras.tree.flatten(getattr(each, tensors)) for each in (model, binary))
        named = [
            [x.name if tensors == "inputs" else x._keras_history.operation.name for x in y]
            for y in (old, new)
        ]
        assert named[0] == named[1]
        assert [x.shape for x in old] == [x.shape for x in new]
    if not isinstance(model, keras.Sequential):
        keras.tree.assert_same_structure(model.output, binary.output)
    # Every layer of the original has a row, and a row without a layer says why.
    assert sorted(row.name for row in result.layers) == sorted(
        operation.name
        for operation in getattr(model, "operations", model.layers)
        if not isinstance(operation, keras.layers.InputLayer)
    )
    assert all(row.reason for row in result.layers if not row.became)
    assert sum(row.precision == "binary" for row in result.layers) >= 1
    # Whatever is an activation function before a binary layer is a sign.
    assert any(row.precision == "sign" or "a sign in place" in row.reason for row in result.layers)
    harden(binary, rng)
    assert_files_equal(binary, rng)


def test_the_table_of_the_mnist_convnet():
    text = str(keras_sbn.binary_model(NETWORKS["mnist_convnet"]()))
    lines = [line.split() for line in text.splitlines()]
    assert lines[2][:4] == ["conv_1", "Conv2D", "binary", "SelfBinarizingConv2D"]
    assert "a sign in place of its activation function" in text
    assert lines[-1][:4] == ["dense", "Dense", "float", "Dense"]

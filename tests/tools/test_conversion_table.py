"""The table of what converts is what the code does, and its entries are true of models."""

import re

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn import layers

table = pytest.importorskip("conversion_table")
#: It runs neither of two functions in a model.
OLD = keras.__version__.startswith("3.4.")
PAGE = table.PAGE.read_text()


def _rows(title):
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    columns, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]
    return {row[0].strip("`"): dict(zip(columns[1:], map(bool, row[1:]), strict=True)) for row in rows}


@pytest.mark.skipif(f"Keras {keras.__version__}." not in PAGE, reason="the page is of another Keras")
def test_the_page_is_what_the_tool_writes():
    assert table.page() == PAGE


@pytest.mark.parametrize("module", ["keras_sbn.layers", "keras.layers"])
def test_every_layer_of_this_keras_is_as_the_page_says(module):
    listed = _rows(module)
    for name, kind in table._layer_classes(keras.layers if module == "keras.layers" else layers):
        row = table.layer_row(kind)
        if name in listed:
            assert listed[name] == row, name
        elif re.search(rf"`{name}`", PAGE):
            assert not any(row.values()), name


#: How the functions are called that take more than a tensor.
_CALLS = {
    "average_pool": lambda x: keras.ops.average_pool(x, 2, 2),
    "batch_normalization": lambda x: keras.ops.batch_normalization(x, *np.ones((2, 3), "float32"), -1),
    "cast": lambda x: keras.ops.cast(x, "float32"),
    "clip": lambda x: keras.ops.clip(x, 0.6, 1.5),
    "concatenate": lambda x: keras.ops.concatenate([x, x], axis=1),
    "conv": lambda x: keras.ops.conv(x, np.ones((2, 2, 3, 2), "float32")),
    "depthwise_conv": lambda x: keras.ops.depthwise_conv(x, np.ones((2, 2, 3, 1), "float32")),
    "dot": lambda x: keras.ops.dot(x, np.ones((3, 2), "float32")),
    "einsum": lambda x: keras.ops.einsum("bhwc,cd->bhwd", x, np.ones((3, 2), "float32")),
    "expand_dims": lambda x: keras.ops.expand_dims(x, 2),
    "flip": lambda x: keras.ops.flip(x, axis=-1),
    "get_item": lambda x: x[:, 1:, ::2],
    "matmul": lambda x: keras.ops.matmul(x, np.ones((3, 2), "float32")),
    "max_pool": lambda x: keras.ops.max_pool(x, 2, 2),
    "moveaxis": lambda x: keras.ops.moveaxis(x, -1, 1),
    "pad": lambda x: keras.ops.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]], constant_values=3.0),
    "power": lambda x: x**2,
    "repeat": lambda x: keras.ops.repeat(x, 2, axis=1),
    "reshape": lambda x: keras.ops.reshape(x, (-1, 16, 3)),
    "roll": lambda x: keras.ops.roll(x, 1, axis=2),
    "split": lambda x: keras.ops.split(x, 2, axis=1)[1],
    "squeeze": lambda x: keras.ops.squeeze(keras.layers.Reshape((4, 1, 12))(x), axis=2),
    "stack": lambda x: keras.ops.stack([x, x], axis=1),
    "swapaxes": lambda x: keras.ops.swapaxes(x, 1, -1),
    "tile": lambda x: keras.ops.tile(x, (1, 2, 1, 1)),
    "transpose": lambda x: keras.ops.transpose(x, (0, 3, 1, 2)),
    **{
        name: lambda x, name=name: getattr(keras.ops, name)(x, axis=(1, 2))
        for name in ("amax", "amin", "max", "mean", "min", "sum", "var")
    },
    **{
        name: lambda x, name=name: getattr(keras.ops, name)(x, x + 0.5)
        for name in ("add", "divide", "maximum", "minimum", "multiply", "subtract", "true_divide")
    },
}


def test_functions_that_the_page_lists_convert():
    """Each goes through both targets, and computes what Keras does."""
    x = np.random.default_rng(0).uniform(0.5, 2, (3, 4, 4, 3)).astype("float32")
    inputs = keras.Input((4, 4, 3))
    outputs = {
        name: keras.layers.Flatten()(_CALLS.get(name, getattr(keras.ops, name))(inputs))
        for name in _rows("keras.ops")
        if not (OLD and name in ("batch_normalization", "stop_gradient"))
    }
    assert len(outputs) >= 25
    outputs["sign"] = layers.SelfBinarizingActivation()(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, outputs)
    keras_sbn.binarize(model)
    expected = model.predict(x, verbose=0)
    for target in ("lce", "tflite"):
        converted = keras_sbn.convert(model, target)
        received = converted.predict(x)
        received = (
            dict(zip(sorted(expected), received, strict=True)) if isinstance(received, list) else received
        )
        for name, value in expected.items():
            np.testing.assert_allclose(received[name], value, rtol=1e-4, atol=1e-5, err_msg=name)

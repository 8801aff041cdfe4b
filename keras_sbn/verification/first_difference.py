"""Which layer of a file is the first to differ from the folded Keras model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_sbn import bits
from keras_sbn.conversion.quantization import BINARY
from keras_sbn.folding.fold import fold
from keras_sbn.tflite.reader import TensorInfo, read_file
from keras_sbn.tflite.schema import schema
from keras_sbn.tflite.writer import finish
from keras_sbn.verification.inputs import Batch

#: Float values of layers before the first sign may differ by rounding; ±1 and integers may not.
_TOLERANCE = 1e-4
#: Values that are rounded to integers, from others that were, may differ by so many steps.
_STEPS = 2.0


def compare_layers(
    content: bytes,
    model: Any,
    batch: Batch,
    *,
    input_scaling: tuple[float, float] | None = None,
    run: Callable[[bytes, list[np.ndarray]], list[np.ndarray]],
) -> tuple[str | None, int]:
    """Compares the value of every layer, in the order in which the file computes them.

    A tensor of the file that has the name of a folded layer holds that layer's value. All of them are
    made outputs of a copy of the file, which is run once.

    Args:
        content: The bytes of the file.
        model: The Keras model it should equal, hard or folded.
        batch: Inputs.
        input_scaling: As for `keras_sbn.verify`: the layers of the fold take the images then.
        run: Runs a file on inputs, and returns its outputs as stored.

    Returns:
        Name of the first layer whose values differ, or `None` where no layer of the file does, or the
        model cannot be folded, as one that is still soft; and the number of layers before it, which
        agree.
    """
    try:
        floats = all(keras.backend.standardize_dtype(x.dtype).startswith("float") for x in model.inputs)
        folded = fold(model, input_scaling=input_scaling if floats else None)
    except ValueError:
        return None, 0
    copy, layers = layers_as_outputs(content, folded)
    if not layers:
        return None, 0
    received = run(copy, batch.for_file)
    wanted = keras.Model(folded.inputs, [folded.get_layer(layer.name).output for layer in layers])
    inputs = batch.for_model if input_scaling is None else batch.for_images
    expected = wanted.predict_on_batch(inputs)
    for agreeing, (layer, a, b) in enumerate(zip(layers, expected, received, strict=True)):
        a = cropped(np.asarray(a), b)
        value = _value(b, layer, a.shape)
        near = max(_TOLERANCE, _STEPS * _step(layer))
        if value is None or not np.allclose(a, value, rtol=_TOLERANCE, atol=near):
            return layer.name, agreeing
    return None, len(layers)


def layers_as_outputs(content: bytes, folded: Any) -> tuple[bytes, tuple[TensorInfo, ...]]:
    """A copy of the file whose outputs are the values of the folded model's layers.

    Args:
        content: The bytes of the file.
        folded: The folded model.

    Returns:
        The copy, and its outputs, each named as its layer.
    """
    layers = {layer.name for layer in folded.layers if len(layer._inbound_nodes) == 1}
    file = schema().ModelT.InitFromObj(schema().Model.GetRootAs(content, 0))
    graph = file.subgraphs[0]
    graph.outputs = [
        index
        for op in graph.operators
        for index in op.outputs
        if graph.tensors[index].name and graph.tensors[index].name.decode() in layers
    ]
    # A signature names outputs that the copy does not have, and metadata a file that was behind it.
    file.signatureDefs, file.metadata = [], []
    copy = finish(file)
    return copy, read_file(copy).outputs


def cropped(expected: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """What Keras computes, without the rows and columns that no layer reads: the file has none of them.

    Args:
        expected: Keras's value of a layer.
        stored: What the file's tensor holds, of as many dimensions but for moves; channels are last.
    """
    if expected.ndim != stored.ndim:
        return expected
    return expected[tuple(slice(size) for size in stored.shape[:-1])]


def _step(tensor: TensorInfo) -> float:
    """What one step of a quantized tensor is worth; 0 where it holds floats, bits or ±1."""
    pair = tensor.quantization
    return 0.0 if pair in (None, BINARY[:2]) else pair[0]


def _value(stored: np.ndarray, tensor: TensorInfo, shape: tuple[int, ...]) -> np.ndarray | None:
    """The value that a tensor of any target stores, or `None` if it is of another shape."""
    if stored.dtype == np.int32 and stored.shape == (*shape[:-1], bits.words(shape[-1])):
        stored = bits.unpack(stored, shape[-1])
    elif stored.dtype in (np.int8, np.int16):
        stored = stored.astype(np.float32) - (tensor.zero_points or (0,))[0]
        step = _step(tensor)
        stored = step * stored if step else 2 * stored + 1
    return stored if stored.shape == shape else None

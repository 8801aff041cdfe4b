"""From a Keras model to the bytes of a .tflite file."""

from __future__ import annotations

from typing import Any

from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.conversion.lce import LceLowering
from keras_sbn.conversion.lowering import static_shape
from keras_sbn.conversion.reader import read_file
from keras_sbn.conversion.report import compare_with_plan
from keras_sbn.conversion.writer import ModelWriter
from keras_sbn.folding.fold import folded_graph

_TARGETS = ("lce",)


def convert(model: Any, target: str = "lce") -> ConvertedModel:
    """Converts a trained or a folded model to a `.tflite` file.

    Every binary convolution and dense layer becomes one binary operator of the Larq Compute Engine, with
    bitpacked output and integer thresholds where the next layer is binary. The file is read back and
    compared with what was meant before it is returned.

    Args:
        model: A Functional or Sequential Keras model, hard (see `keras_sbn.binarize`), or the result of
            `keras_sbn.fold`. Input sizes are fixed; the batch size becomes 1.
        target: `"lce"`, the Larq Compute Engine.

    Returns:
        A `ConvertedModel` with the bytes, the report and `predict`.

    Raises:
        ValueError: If the target is unknown, the model cannot be folded, a layer that should be binary
            is not, or a layer has no counterpart in the target. The message names the layer.
        ImportError: If no package with the TFLite schema is installed.

    Example:

    >>> model = keras.Sequential([keras.Input((32,)), keras_sbn.layers.SelfBinarizingDense(4)])
    >>> report = keras_sbn.binarize(model)
    >>> path = keras_sbn.convert(model).save("model.tflite")
    """
    if target not in _TARGETS:
        raise ValueError(f"Expected `target` to be one of {_TARGETS}. Received: target={target!r}")
    graph = folded_graph(model)
    writer = ModelWriter(description="keras_sbn")
    lowering = LceLowering(graph, writer)
    for node in graph.inputs:
        lowering.set_real(node, writer.tensor(node.name, static_shape(node), "float32"))
    inputs = [lowering.real(node) for node in graph.inputs]
    for node in graph.nodes():
        lowering.lower(node)
    outputs = [lowering.real(node) for node in graph.outputs]
    content = writer.finish(inputs, outputs)
    report = compare_with_plan(lowering.plan, read_file(content))
    return ConvertedModel(content, target, report, tuple(node.name for node in graph.inputs))

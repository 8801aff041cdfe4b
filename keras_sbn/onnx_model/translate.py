"""From the bytes of a file to the bytes of an ONNX model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sbn.extras import installed, remedy
from keras_sbn.onnx_model.functions import write
from keras_sbn.onnx_model.graph import QONNX, Graph
from keras_sbn.tflite.reader import TensorInfo, read_file
from keras_sbn.version import __version__

#: The oldest version of the operators with all that is used here.
OPSET = 13
_IR_VERSION = 8


def translate(content: bytes, labels: Sequence[str] = (), qonnx: bool = False) -> bytes:
    """Writes the ONNX model of a file.

    Args:
        content: The bytes of a `.tflite` file with operators of the Larq Compute Engine, or without.
        labels: Names of the classes, in the order of the output; they go into the metadata of the model.
        qonnx: Whether signs, thresholds and binary kernels are the operators of QONNX.

    Returns:
        The bytes of a model whose inputs and outputs are those of the file, channels last, for a batch
        of one.

    Raises:
        ImportError: If onnx is not installed.
        ValueError: If ONNX has no operators for one of the file, or sums could be rounded; the message
            names what it writes.
    """
    if not installed("onnx"):
        raise ImportError(f"Writing ONNX models needs onnx, which is not installed: {remedy('onnx')}")
    from onnx import checker, helper, shape_inference

    info = read_file(content)
    graph = Graph(qonnx)
    taken = info.input_names
    output_names = [f"{name}_output" if name in taken else name for name in info.output_names]
    graph.reserve([*taken, *output_names])
    for name, tensor in zip(info.input_names, info.inputs, strict=True):
        graph.set(tensor, _read(graph, name, tensor), first=False)
    for op in info.operators:
        write(graph, op)
    outputs = []
    for name, tensor in zip(output_names, info.outputs, strict=True):
        value = graph.last(tensor)
        graph.nodes.append(helper.make_node("Identity", [value], [name], name=f"{name}/output"))
        outputs.append(helper.make_tensor_value_info(name, _FLOAT, list(graph.shape(tensor))))
    inputs = [
        helper.make_tensor_value_info(name, _ELEMENT_TYPES[tensor.dtype], list(tensor.shape))
        for name, tensor in zip(info.input_names, info.inputs, strict=True)
    ]
    opsets = [helper.make_opsetid("", OPSET)]
    if qonnx:
        opsets.append(helper.make_opsetid(QONNX, 1))
    made = helper.make_graph(graph.nodes, "network", inputs, outputs, graph.initializers)
    model = helper.make_model(
        made,
        opset_imports=opsets,
        ir_version=_IR_VERSION,
        producer_name="keras_sbn",
        producer_version=__version__,
    )
    if labels:
        helper.set_model_props(model, {"labels": "\n".join(labels)})
    if not qonnx:
        checker.check_model(model)
        model = shape_inference.infer_shapes(model, strict_mode=True)
    found: bytes = model.SerializeToString()
    return found


#: Numbers of onnx.TensorProto.
_FLOAT = 1
_ELEMENT_TYPES = {"float32": _FLOAT, "uint8": 2, "int8": 3}


def _read(graph: Graph, name: str, tensor: TensorInfo) -> Any:
    """The value of an input: the numbers that 8-bit ones stand for."""
    if tensor.dtype == "float32":
        return name
    (scale,), (zero,) = tensor.scales, tensor.zero_points
    value = graph.node("Cast", [name], f"{name}/float", to=_FLOAT)
    if zero:
        value = graph.node("Sub", [value, graph.number(float(zero))], f"{name}/shifted")
    if np.float32(scale) != 1:
        value = graph.node("Mul", [value, graph.number(scale)], f"{name}/scaled")
    return value

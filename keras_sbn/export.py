"""The folded network as one NumPy archive, for runtimes of one's own: FPGAs, microcontrollers."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn import bits
from keras_sbn.files import write_atomically
from keras_sbn.folding.affine_maps import multiplied_out
from keras_sbn.folding.fold import folded_graph
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import (
    Affine,
    BinaryConv,
    BinaryConv2DTranspose,
    BinaryDense,
    KerasCall,
    Pick,
    Placeholder,
    Product,
    Reshape,
    Slot,
    Threshold,
)
from keras_sbn.folding.thresholds import on_grid
from keras_sbn.folding.value_ranges import grid, is_binary

#: Version of the layout, in the archive's graph.
LAYOUT = 1


def export_binary(model: Any, path: str | os.PathLike[str]) -> Path:
    """Writes the folded network to an `.npz`: ±1 kernels as bits, thresholds, shapes and the graph.

    The entry `graph` is JSON text: `{"layout": 1, "inputs": [...], "outputs": [...], "nodes": [...]}`, in
    an order in which inputs come first. A node has `name`, `op`, `inputs` (names), `shape` (of the
    output, batch axis left out, `null` for an unknown size) and `binary` (whether its values are -1 and
    +1). Beside that, and in entries named `<name>/<entry>`:

    - `BinaryConv2D`, `BinaryConv3D`, `BinaryDense`, `BinaryConv2DTranspose`: `kernel_bits`, uint32
      `(filters, *window, words)`, 32 input channels a word, lowest bit first, 1 for -1, and 0 past the
      last channel; `kernel_shape` in the node is that of the unpacked kernel
      `(*window, channels, filters)` (transposed: `(*window, filters, channels)`), and `strides`,
      `padding`, `dilation_rate`, `groups`; `pad_values`, one or one an input channel.
    - `Threshold`: +1 where ``direction * x * steps >= threshold``, -1 elsewhere, with `steps` in
      the node (1 for integers) and int32 `threshold`, int8 `direction`; for real inputs (`steps` 0) +1
      where ``direction * x >= threshold``, float64.
    - `Sign`: +1 where ``x >= 0``.
    - `Affine`: ``scale * (x - center) + offset``, float64.
    - `Reshape`: to `shape`.
    - `Keras`: `layer` is the class and `config` the configuration of a Keras layer or operation; its
      weights are `<name>/weight_<i>`. `arguments` is `[args, kwargs]` of the call, with
      `{"input": i}` for number i of `inputs`.

    Args:
        model: A hard or a folded model, as `keras_sbn.fold` takes it.
        path: Where the archive goes.

    Returns:
        The path.

    Raises:
        ValueError: If the model cannot be folded, has a layer of several outputs, or one that is called
            with an argument that JSON cannot hold.
        OSError: If the file cannot be written; one that was there before is unharmed.

    Example:

    >>> model = keras.Sequential([keras.Input((32,)), keras_sbn.layers.SelfBinarizingDense(4)])
    >>> report = keras_sbn.binarize(model)
    >>> path = keras_sbn.export_binary(model, "model.npz")
    >>> np.load(path)["self_binarizing_dense/kernel_bits"].shape
    (4, 1, 1, 1)
    """
    graph = folded_graph(model)
    arrays: dict[str, np.ndarray] = {}
    nodes = []
    for node in graph.nodes():
        attributes, entries = _described(node)
        nodes.append(
            {
                "name": node.name,
                "inputs": [source.name for source in node.inputs],
                "shape": list(node.shape[1:]),
                "binary": is_binary(node),
                **attributes,
            }
        )
        arrays |= {f"{node.name}/{name}": value for name, value in entries.items()}
    description = {
        "layout": LAYOUT,
        "inputs": [node.name for node in graph.inputs],
        "outputs": [node.name for node in graph.outputs],
        "nodes": nodes,
    }
    archive = io.BytesIO()
    np.savez_compressed(archive, graph=np.array(json.dumps(description)), **arrays)
    return write_atomically(path, archive.getvalue())


def _described(node: Node) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the graph says of a node, and its arrays."""
    op = node.op
    name = type(op).__name__
    if isinstance(op, Pick):
        raise ValueError(
            f"Expected layers of one output. Received: {node.inputs[0].name!r} with several."
        )
    if isinstance(op, Placeholder):
        return {"op": "Input", "dtype": op.dtype}, {}
    if isinstance(op, Product):
        return _product(name, op)
    if isinstance(op, Threshold):
        values = grid(node.input)
        if values is None:
            return {"op": name, "steps": 0}, {
                "threshold": op.threshold,
                "direction": op.direction,
            }
        threshold = on_grid(op.threshold, values).astype(np.int32)
        return {"op": name, "steps": values.steps}, {
            "threshold": threshold,
            "direction": op.direction,
        }
    if isinstance(op, Affine):
        affine = multiplied_out(op)
        return {"op": name}, {
            "scale": affine.scale,
            "center": affine.center,
            "offset": affine.offset,
        }
    if isinstance(op, KerasCall):
        return _keras_layer(node, op)
    # A sign or a reshape: the name and the shape say all.
    return {"op": "Reshape" if isinstance(op, Reshape) else name}, {}


def _product(name: str, op: Product) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    kernel = op.kernel
    attributes: dict[str, Any] = {"op": name, "kernel_shape": list(kernel.shape)}
    entries: dict[str, np.ndarray] = {}
    if isinstance(op, BinaryConv2DTranspose):
        by_filter = kernel.transpose(2, 0, 1, 3)
    else:
        by_filter = np.moveaxis(kernel, -1, 0)
    entries["kernel_bits"] = bits.pack(by_filter).view(np.uint32)
    if isinstance(op, BinaryConv):
        entries["pad_values"] = op.pad_values
        attributes["groups"] = op.groups
    if isinstance(op, BinaryConv2DTranspose):
        attributes["output_padding"] = op.output_padding
    if not isinstance(op, BinaryDense):
        attributes |= {
            "strides": list(op.strides),
            "padding": op.padding,
            "dilation_rate": list(op.dilation_rate),
        }
    return attributes, entries


def _keras_layer(node: Node, call: KerasCall) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    operation = call.operation
    config = keras.saving.serialize_keras_object(operation)
    arguments = keras.tree.map_structure(
        lambda x: {"input": x.index} if isinstance(x, Slot) else x, call.arguments
    )
    try:
        json.dumps(arguments)
    except TypeError as error:
        raise ValueError(
            f"Expected layer {node.name!r} to be called with numbers, words and tensors alone. "
            f"Received: {error}. Make a keras.layers.Layer that holds the argument."
        ) from error
    weights = getattr(operation, "weights", [])
    entries = {f"weight_{i}": ops.convert_to_numpy(w) for i, w in enumerate(weights)}
    layer = type(operation).__name__
    return {"op": "Keras", "layer": layer, "config": config, "arguments": arguments}, entries

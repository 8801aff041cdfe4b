"""Positions of a convolution that no pool reads are not computed.

A pool without padding leaves over what is too little for another window: of a map of 7 x 7, one of 2 x 2
reads 6 x 6. The last row and column of the convolution before it, 27 % of its work there, are for
nothing. So its output is made smaller here; `layers.padding` pads its input accordingly.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_sbn.conversion.targets.base import Target
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import KerasCall, Threshold

_POOLS = (keras.layers.AveragePooling2D, keras.layers.MaxPooling2D)


def crop_unused_outputs(graph: Graph, target: Target) -> None:
    """Makes the maps of binary convolutions as large as the pools after them read them.

    Args:
        graph: The folded model; shapes of its nodes are changed.
        target: Knows whether it can leave the last rows and columns of a convolution out.
    """
    for node in graph.nodes():
        read = _read_positions(node)
        if read is None:
            continue
        path = [node.input]
        if isinstance(path[0].op, Threshold) and path[0].op.threshold.ndim <= 1:
            path.append(path[0].input)
        conv = path[-1]
        op: Any = conv.op
        alone = all(graph.has_one_use(step) for step in path)
        if not alone or not target.sums_bits(conv) or not target.finishes(op):
            continue
        for step in path:
            step.shape = (step.shape[0], *read, step.shape[-1])


def _read_positions(node: Node) -> tuple[int, ...] | None:
    """How many rows and columns a pool reads of the map before it, if the map's size is known."""
    if not isinstance(node.op, KerasCall) or node.op.kind not in _POOLS:
        return None
    layer = node.op.operation
    if layer.padding != "valid" or layer.data_format != "channels_last":
        return None
    geometry = zip(node.input.shape[1:3], node.shape[1:3], layer.strides, layer.pool_size, strict=True)
    read = [
        min(size, (positions - 1) * stride + window)
        for size, positions, stride, window in geometry
        if size is not None and positions is not None
    ]
    return tuple(read) if len(read) == 2 else None

"""A sign or threshold that alone reads a convolution goes into the operator of the convolution."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_sbn.conversion.comparisons import as_threshold
from keras_sbn.conversion.fused import FusedThreshold
from keras_sbn.conversion.geometry import static_shape
from keras_sbn.conversion.layers.linear import linear_of, per_channel
from keras_sbn.conversion.layers.thresholds import can_pad_image
from keras_sbn.conversion.targets.base import Target
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import (
    BinaryConv2D,
    BinaryConv2DTranspose,
    IntegerConv2D,
    Product,
    Sign,
    Threshold,
)
from keras_sbn.folding.thresholds import on_grid
from keras_sbn.folding.value_ranges import grid, is_binary, is_image


def fuse_thresholds(graph: Graph, target: Target) -> None:
    """Fuses comparisons of exact accumulators, and in int8 those of other linear layers.

    The node of the comparison stays, and computes both.
    """
    for node in graph.nodes():
        op = node.op
        if not isinstance(op, Sign | Threshold) or not graph.has_one_use(node.input):
            continue
        source = node.input
        if isinstance(op, Threshold) and _has_integer_accumulators(source, op, target):
            values = grid(source)
            assert values is not None
            filters = static_shape(source)[-1]
            integers = np.broadcast_to(on_grid(op.threshold, values), (filters,))
            node.op = FusedThreshold(integers, op.direction, source.op, source.name, exact=True)
        elif _has_rounded_inputs(source, op, target):
            same = as_threshold(op)
            node.op = FusedThreshold(same.threshold, same.direction, source.op, source.name, exact=False)
        else:
            continue
        node.inputs = list(source.inputs)


def _has_integer_accumulators(node: Node, comparison: Threshold, target: Target) -> bool:
    """Whether the convolution can compare its integers itself, with one threshold an output channel."""
    op: Any = node.op
    if not isinstance(op, BinaryConv2D | IntegerConv2D | BinaryConv2DTranspose):
        return False
    if comparison.threshold.ndim > 1 or grid(node) is None:
        return False
    if isinstance(op, BinaryConv2DTranspose):
        return is_binary(node.input) and target.unsupported_transposed(node.name, op) is None
    if not (comparison.direction > 0).all():
        return False
    if is_image(node.input):
        return op.padding == "valid" or can_pad_image(op)
    return target.sums_bits(node)


def _has_rounded_inputs(node: Node, comparison: Sign | Threshold, target: Target) -> bool:
    """Whether int8 can compare the sums of a linear layer: a comparison alone reads them."""
    op: Any = node.op
    sums = isinstance(op, BinaryConv2D) and is_binary(node.input)
    if not target.in_int8(node) or sums:
        return False
    linear = linear_of(op, node, node.name)
    if linear is None or not target.compares_rounded_sums(linear):
        return False
    if isinstance(op, Product) and target.unsupported(node.name, op, node.input) is not None:
        return False
    return per_channel(as_threshold(comparison), static_shape(node)[-1]) is not None

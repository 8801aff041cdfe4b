"""Layers that rescale the image are affine maps, and move through the first convolution."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.folding.affine_maps import joined, mapped, multiplied_out, rank
from keras_sbn.folding.arithmetic import arithmetic_of
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import (
    Affine,
    BinaryConv2D,
    BinaryDense,
    IntegerConv2D,
    KerasCall,
    Reshape,
)
from keras_sbn.folding.thresholds import trimmed
from keras_sbn.folding.value_ranges import grid


class RescalingToAffine:
    """Rescaling is ``scale * x + offset``; Normalization is ``(x - mean) / deviation``, or its inverse.

    The deviation is ``max(sqrt(variance), epsilon)``, and the inverse ``deviation * x + mean``.
    Parameters over other axes than the last get a value for every position, where the sizes of these are
    known; where they are not, or differ from sample to sample, the layer stays.
    """

    kinds = frozenset({keras.layers.Normalization, keras.layers.Rescaling})

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall):
            return False
        layer, kind = node.op.operation, node.op.kind
        if kind is keras.layers.Rescaling:
            scale, offset = _rescaling(layer)
            parameters = [np.zeros(1), scale, offset, np.ones(1)]
        elif kind is keras.layers.Normalization:
            parameters = _normalization(layer)
        else:
            return False
        found = [_over_last_axes(parameter, node.shape) for parameter in parameters]
        if any(parameter is None for parameter in found):
            return False
        node.op = Affine(*found)  # type: ignore[arg-type]
        return True


def _rescaling(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    scale, offset = np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)
    if scale.ndim and keras.config.image_data_format() == "channels_first":
        # What Keras does: the scale runs over the first axes of a sample, the offset over the last.
        scale = scale.reshape(scale.shape + (1,) * (3 - scale.ndim))
    return scale, offset


def _normalization(layer: Any) -> list[np.ndarray]:
    """Center, scale, offset and divisor of a Normalization."""
    mean = ops.convert_to_numpy(layer.mean).astype(np.float64)
    variance = ops.convert_to_numpy(layer.variance).astype(np.float64)
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    zero, one = np.zeros(1), np.ones(1)
    return [zero, deviation, mean, one] if layer.invert else [mean, one, zero, deviation]


def _over_last_axes(parameter: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray | None:
    """A parameter that broadcasts against a batch, as one of the last axes that it differs over.

    Returns:
        The parameter, or `None` where the sizes of these axes are not known, or one is the batch axis.
    """
    found = trimmed(np.atleast_1d(parameter))
    sizes = shape[len(shape) - found.ndim :]
    if found.ndim >= len(shape) or any(size is None for size in sizes):
        return None
    return np.broadcast_to(found, tuple(int(size or 0) for size in sizes))


def rescaled_integers(node: Node) -> tuple[Affine, Node] | None:
    """The affine map of integers that a node is, and the integers, in its shape.

    Functions such as ``x / 255`` are maps as a layer's are, one after the other. A reshape of a map is
    the map of a reshape, with its parameters laid out as the values are.
    """
    affine = _map_of(node)
    if affine is not None:
        before = rescaled_integers(node.input)
        if before is not None:
            return multiplied_out(joined(before[0], affine)), before[1]
        return None if grid(node.input) is None else (multiplied_out(affine), node.input)
    if not isinstance(node.op, Reshape) or None in node.input.shape[1:]:
        return None
    found = rescaled_integers(node.input)
    if found is None:
        return None
    affine, integers = found
    source, target = tuple(int(size or 0) for size in node.input.shape[1:]), node.op.target

    def reshaped(parameter: np.ndarray) -> np.ndarray:
        return trimmed(np.broadcast_to(parameter, source).reshape(target))

    moved = Node(f"{node.name}_integers", Reshape(target), [integers], node.shape)
    return mapped(affine, reshaped), moved


def _map_of(node: Node) -> Affine | None:
    """The affine map that a node applies to its only input, or `None`."""
    if isinstance(node.op, Affine):
        return node.op
    function = arithmetic_of(node, of_integers=True)
    return None if function is None else function.affine


class MoveProductBeforeRescaling:
    """conv(scale * (q - center) + offset, w) => scale * conv(q, w) + constant, for integers q.

    With one scale for all channels and any centers and offsets,

        sum w (scale (q - center) + offset) = scale * sum w q + sum w (offset - scale * center)

    so the convolution runs on the integers themselves, its sums are exact, and the batch normalization
    after it becomes an integer threshold. Padding with p stands for the integer
    ``(p - offset) / scale + center``, which has to be one: +1 is 255 where 255 rescales to 1. Between
    the two may stand reshapes, which the integers then take.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, BinaryConv2D | IntegerConv2D | BinaryDense):
            return False
        found = rescaled_integers(node.input)
        if found is None:
            return False
        affine, integers = found
        scale, center, offset = np.atleast_1d(affine.scale), affine.center, affine.offset
        if rank(affine) > 1 or (scale != scale[0]).any() or scale[0] == 0:
            return False
        op = node.op
        kernel = op.kernel.astype(np.float64)
        if not isinstance(op, BinaryDense):
            if op.groups > 1:
                return False
            pads = op.pad_values
            if op.padding != "valid":
                exact = (op.pad_values - offset) / scale[0] + center
                pads = np.round(exact)
                # The pad was given in the units of the rescaled image, with the rounding of those.
                if (np.abs(pads - exact) > 1e-6 * np.abs(exact) + 1e-9).any():
                    return False
            product: BinaryConv2D | IntegerConv2D | BinaryDense = type(op)(
                op.kernel, op.strides, op.padding, pads, op.dilation_rate, op.groups
            )
            per_channel = kernel.sum(axis=(0, 1))
        else:
            product = BinaryDense(op.kernel)
            per_channel = kernel
        constant = np.broadcast_to(offset - scale * center, per_channel.shape[:1]) @ per_channel
        filters = kernel.shape[-1]
        new = integers
        while new not in graph.links:
            new.name = graph.new_name(new.name)
            new = new.input
        sums = Node(node.name, product, [integers], node.shape)
        after = Affine(np.zeros(filters), np.full(filters, scale[0]), constant)
        graph.replace(node, Node(graph.new_name(f"{node.name}_rescaling"), after, [sums], node.shape))
        return True

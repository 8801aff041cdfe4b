"""Batch normalization at inference is an affine map."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, KerasCall
from keras_sbn.layers import BinaryBatchNormalization


class BatchNormToAffine:
    """``gamma (x - mean) / sqrt(variance + epsilon) + beta``, with the constants taken in float64."""

    kinds = frozenset({keras.layers.BatchNormalization, BinaryBatchNormalization})

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall):
            return False
        layer, kind = node.op.operation, node.op.kind
        if kind not in self.kinds:
            return False
        rank = len(node.shape)
        if layer.axis % rank != rank - 1:
            raise ValueError(
                f"Expected batch normalization {layer.name!r} over the last axis, as the inference "
                f"kernels have it. Received: axis={layer.axis} for inputs of shape {node.shape}"
            )
        mean = _float64(layer.moving_mean)
        variance = _float64(layer.moving_variance)
        scale = np.ones_like(mean)
        if kind is BinaryBatchNormalization:
            if layer.log_gamma is not None:
                scale = np.exp(_float64(layer.log_gamma))
        elif layer.scale:
            scale = _float64(layer.gamma)
        beta = _float64(layer.beta) if layer.center else np.zeros_like(mean)
        node.op = Affine(mean, scale, beta, divisor=np.sqrt(variance + layer.epsilon))
        return True


def _float64(weight: Any) -> np.ndarray:
    return ops.convert_to_numpy(weight).astype(np.float64)

"""What computes in float32 where others do in int8."""

from __future__ import annotations

from keras_sbn.conversion.targets.base import Target
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, KerasCall, Reshape


def keep_float(graph: Graph, target: Target) -> None:
    """Notes the layers that were asked for, and sums of ±1 that int8 would only round.

    These are the nodes from a binary convolution to an output in float32, or to a layer that was asked
    for, if nothing else reads them, and if the target has the sums in float32 at no cost.
    """
    if not target.settings.quantize:
        return
    asked = target.settings.float_layers
    target.float_nodes.update(id(node) for node in graph.nodes() if names_of(node) & asked)
    if not target.has_float_accumulators:
        return
    for node in graph.nodes():
        if target.sums_bits(node):
            target.float_nodes.update(id(step) for step in _path_in_float(graph, node, target))


def names_of(node: Node) -> set[str]:
    """Its name and that of its layer, which several calls share, or a product and its activation."""
    return {node.name, node.op.operation.name} if isinstance(node.op, KerasCall) else {node.name}


def _path_in_float(graph: Graph, node: Node, target: Target) -> list[Node]:
    """The nodes from `node` to where float32 is read, if nothing else reads any of them, or none."""
    path = [node]
    while not graph.is_output(path[-1]):
        if not graph.has_one_use(path[-1]):
            return []
        (consumer,) = graph.consumers(path[-1])
        if id(consumer) in target.float_nodes:
            return path
        if not isinstance(consumer.op, Affine | Reshape):
            return []
        path.append(consumer)
    read_in_float = target.settings.output_type in (None, "float32")
    return path if read_in_float and not graph.consumers(path[-1]) else []

"""Exact accumulators that go to a float32 output, and nowhere else, stay float32."""

from __future__ import annotations

from keras_sbn.conversion.targets.base import Target
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, Reshape


def keep_float_outputs(graph: Graph, target: Target) -> None:
    """Notes the nodes from a binary convolution to an output, where int8 would only round them.

    So it is where the target has the accumulators in float32 at no cost.
    """
    wanted = target.settings.quantize and target.settings.output_type in (None, "float32")
    if not wanted or not target.has_float_accumulators:
        return
    for node in graph.nodes():
        if target.sums_bits(node):
            target.float_nodes.update(id(step) for step in _path_to_output(graph, node))


def _path_to_output(graph: Graph, node: Node) -> list[Node]:
    """The nodes from `node` to an output, if nothing else reads any of them; otherwise none."""
    path = [node]
    while not graph.is_output(path[-1]):
        if not graph.has_one_use(path[-1]):
            return []
        (consumer,) = graph.consumers(path[-1])
        if not isinstance(consumer.op, Affine | Reshape):
            return []
        path.append(consumer)
    return [] if graph.consumers(path[-1]) else path

"""Rules applied to a graph until none matches any more, in time that is linear in its depth."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.rules.base import Rule
from keras_sbn.folding.trace import FoldStep, describe
from keras_sbn.folding.value_ranges import depends_on_its_inputs

#: How many nodes before its own a rule looks at: affine(pool(affine(x))).
_REACH = 3


def rewrite(graph: Graph, rules: Sequence[Rule]) -> list[FoldStep]:
    """Applies the rules, the first that matches first, until none matches any more.

    Where several match, the first rule goes first, and of the nodes the one that comes first. After a
    step, only the nodes are looked at again whose match can depend on what changed: the changed nodes,
    the ones before them, and those behind them as far as a rule looks back. A rule of one's own may look
    farther: at the end every rule is tried at every node once more.
    """
    steps: list[FoldStep] = []
    queue = _Queue(graph, len(rules))
    graph.links.take_changed()
    waiting: Iterable[Node] = graph.nodes()
    while True:
        found = len(steps)
        queue.add(waiting)
        while (pair := queue.next()) is not None:
            index, node = pair
            op, sources = node.op, [source.op for source in node.inputs]
            if not rules[index].apply(graph, node):
                continue
            steps.append(FoldStep(type(rules[index]).__name__, node.name, describe(op, sources)))
            changed = graph.links.take_changed()
            queue.add(_affected(graph, [node, *changed]))
        waiting = graph.nodes()
        if len(steps) == found:
            return steps


class _Queue:
    """Pairs of a rule and a node that wait to be tried, by the order of rules, then of nodes."""

    def __init__(self, graph: Graph, rules: int) -> None:
        self._links = graph.links
        self._rules = rules
        self._heap: list[tuple[int, int, int, Node]] = []
        self._waiting: set[tuple[int, Node]] = set()
        self._count = 0

    def add(self, nodes: Iterable[Node]) -> None:
        """Has every rule tried at these nodes."""
        for node in nodes:
            position = self._links.position(node)
            for index in range(self._rules):
                if (index, node) not in self._waiting:
                    self._waiting.add((index, node))
                    self._count += 1
                    heapq.heappush(self._heap, (index, position, self._count, node))

    def next(self) -> tuple[int, Node] | None:
        """The first pair whose node is still in the graph."""
        while self._heap:
            index, _, _, node = heapq.heappop(self._heap)
            self._waiting.discard((index, node))
            if node in self._links:
                return index, node
        return None


def _affected(graph: Graph, changed: Iterable[Node]) -> Iterable[Node]:
    """The nodes at which a rule may match now that `changed` are others."""
    found: dict[Node, None] = {}
    links = graph.links
    for start in changed:
        if start not in links:
            continue
        found.update(dict.fromkeys(start.inputs))
        level, distance = [start], 0
        seen = {start}
        while level:
            found.update(dict.fromkeys(level))
            following: list[Node] = []
            for node in level:
                if distance >= _REACH and not depends_on_its_inputs(node):
                    continue
                for reader in links.readers(node):
                    if reader not in seen:
                        seen.add(reader)
                        following.append(reader)
            level, distance = following, distance + 1
    return found

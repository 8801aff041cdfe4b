"""Which nodes read which, kept up to date while a graph changes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_sbn.folding.graph import Node

#: Distance of neighbouring positions at the start: 256 nodes can come between two, one after the other.
_SPACING = 1 << 256


class Links:
    """The readers of every node that an output needs, and the order of the nodes.

    A node is in it from when something in it reads the node, and leaves it with its last reader. Every
    node in it says when its operation or its inputs change, so no change costs a walk over the graph.

    Args:
        ordered: The nodes, each after its inputs.
        kept: The inputs and outputs of the graph, which stay though nothing reads them.
    """

    def __init__(self, ordered: Iterable[Node], kept: Iterable[Node]) -> None:
        self._readers: dict[Node, dict[Node, int]] = {}
        self._positions: dict[Node, int] = {}
        self._order: list[int] = []
        self._kept = list(kept)
        self._changed: dict[Node, None] = {}
        for index, node in enumerate(ordered):
            self._place(node, index * _SPACING)
            self._enter(node)
        self._changed.clear()

    def __contains__(self, node: Node) -> bool:
        return node in self._readers

    def position(self, node: Node) -> int:
        """A number that is larger for nodes that come later."""
        return self._positions[node]

    def readers(self, node: Node) -> list[Node]:
        """The nodes that read `node`, in order, once for each reading."""
        found = self._readers.get(node, {})
        ordered = list(found) if len(found) < 2 else sorted(found, key=self._positions.__getitem__)
        return [reader for reader in ordered for _ in range(found[reader])]

    def readings(self, node: Node) -> int:
        """How often `node` is read."""
        return sum(self._readers.get(node, {}).values())

    def take_changed(self) -> list[Node]:
        """The nodes that changed since this was asked last and are still there.

        A node that is read only once from now on has changed as well.
        """
        changed = [node for node in self._changed if node in self._readers]
        self._changed.clear()
        return changed

    def keep(self, nodes: Iterable[Node]) -> None:
        """Says which nodes stay though nothing reads them."""
        before, self._kept = self._kept, list(nodes)
        for node in self._kept:
            if node not in self._readers:
                self.add(node, self._order[-1] if self._order else 0)
        for node in (*before, *self._kept):
            self._changed[node] = None
            self._leave_if_unused(node)

    def add_after(self, new: Node, old: Node) -> None:
        """Puts `new`, and what it needs, behind `old` in the order, before anything reads it."""
        self.add(new, self._positions[old])

    def add(self, new: Node, after: int) -> None:
        """Puts `new`, and what it needs, behind a position, before anything reads it."""
        stack = [new]
        while stack:
            node = stack[-1]
            if node in self._readers:
                stack.pop()
                continue
            missing = [source for source in node.inputs if source not in self._readers]
            if missing:
                stack += missing[::-1]
                continue
            stack.pop()
            index = bisect_right(self._order, after)
            end = self._order[index] if index < len(self._order) else after + _SPACING
            after = (after + end) // 2
            self._place(node, after)
            self._enter(node)

    def operation_changed(self, node: Node) -> None:
        """A node says that it has another operation."""
        self._changed[node] = None

    def inputs_changed(self, node: Node, before: list[Node]) -> None:
        """A node says that it has other inputs than `before`."""
        self._changed[node] = None
        for source in node.inputs:
            if source not in self._readers:
                index = bisect_left(self._order, self._positions[node])
                self.add(source, self._order[index - 1] if index else self._positions[node] - _SPACING)
            self._read(source, node)
        self._unread(node, before)

    def _place(self, node: Node, position: int) -> None:
        self._positions[node] = position
        index = bisect_right(self._order, position)
        self._order.insert(index, position)

    def _enter(self, node: Node) -> None:
        self._readers[node] = {}
        node.links.append(self)
        self._changed[node] = None
        for source in node.inputs:
            self._read(source, node)

    def _read(self, source: Node, reader: Node) -> None:
        readers = self._readers[source]
        readers[reader] = readers.get(reader, 0) + 1

    def _unread(self, reader: Node, sources: list[Node]) -> None:
        for source in sources:
            readers = self._readers[source]
            readers[reader] -= 1
            if not readers[reader]:
                del readers[reader]
            if self.readings(source) == 1:
                self._changed[source] = None
            self._leave_if_unused(source)

    def _leave_if_unused(self, node: Node) -> None:
        stack = [node]
        while stack:
            node = stack.pop()
            if node not in self._readers or self._readers[node] or self._is_kept(node):
                continue
            del self._readers[node]
            node.links.remove(self)
            for source in node.inputs:
                readers = self._readers[source]
                readers[node] -= 1
                if not readers[node]:
                    del readers[node]
                if self.readings(source) == 1:
                    self._changed[source] = None
                stack.append(source)

    def _is_kept(self, node: Node) -> bool:
        return any(kept is node for kept in self._kept)

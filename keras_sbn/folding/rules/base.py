"""What a rewrite rule is."""

from __future__ import annotations

from typing import Protocol

from keras_sbn.folding.graph import Graph, Node


class Rule(Protocol):
    """A rewrite: looks at one node and, where it matches, changes the graph around it.

    A rule for layers of some classes says which, as `kinds`: the table of what converts is made
    of that.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        """Rewrites the graph at `node`; returns whether it did.

        The rewritten graph computes the same values on every input.
        """

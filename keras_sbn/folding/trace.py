"""What the fold did, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keras_sbn.folding.ops import KerasCall, Op
from keras_sbn.tables import format_table


@dataclass(frozen=True)
class FoldStep:
    """One rewrite: which rule, at which node, and what the node was before."""

    rule: str
    node: str
    before: str


@dataclass(frozen=True)
class FoldTrace:
    """The rewrites of a fold, in order. `print` shows a table.

    Attributes:
        steps: The `FoldStep`s.
        signs: For every layer that took a sign in the original model, the name of the layer of the
            folded model that gives the same ±1 values, in the shape before a reshape if it moved
            there. A sign whose values no layer of the folded model gives as such (they are negated
            before a pool, or a function of `keras.ops` holds them) is left out.
    """

    steps: tuple[FoldStep, ...]
    signs: dict[str, str]

    def __str__(self) -> str:
        rows = [(index + 1, step.rule, step.node, step.before) for index, step in enumerate(self.steps)]
        return format_table(("step", "rule", "at", "which was"), rows, "rlll")


def describe(op: Op, sources: Sequence[Op]) -> str:
    """Names an operation and those of the nodes it reads: "Sign(Affine)"."""
    return f"{_class_name(op)}({', '.join(_class_name(source) for source in sources)})"


def _class_name(op: Op) -> str:
    return type(op.operation if isinstance(op, KerasCall) else op).__name__

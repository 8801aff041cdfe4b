"""Writes docs/conversion_table.md: what becomes of every layer of Keras and every function of keras.ops.

    python tools/conversion_table.py            # writes the page
    python tools/conversion_table.py --check    # exit code 1 where the page is not what the code does

The table follows from what the code asks: the classes that the rules of the fold declare (`kinds`), the
registry of lowerings, and the layers that select values.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import keras

import keras_sbn
from keras_sbn.conversion import layers as _layers  # noqa: F401 (registers the lowerings)
from keras_sbn.conversion.passes.conv1d_to_conv2d import Conv1DToConv2D
from keras_sbn.conversion.registry import LOWERINGS, operation_class
from keras_sbn.folding.functions import layer_class
from keras_sbn.folding.kinds import SELECTING
from keras_sbn.folding.rules import DEFAULT_RULES

PAGE = Path(__file__).parent.parent / "docs" / "conversion_table.md"
_TRUE, _FALSE = "yes", ""

_HEAD = """# Layers and operations

What becomes of every layer of Keras and of this package, and of every function of `keras.ops`. The page
is made by `tools/conversion_table.py` from the rules of the fold and the registry of the conversion; a
test keeps it true.

- **removed**: does nothing at inference, and is not in the file.
- **binary**: computes on ±1, or leaves ±1 what they are, so that a binary layer may follow.
- **integer**: a threshold of integers before a sign; the layer itself is not in the file then.
- **float32**, **int8**: converts so, with `activations="float32"` or `"int8"`, on values that are not ±1.
- no entry: refused, with an error that names the layer. `fold` leaves it as it is.

A layer of your own, a `Lambda` and a subclassed model convert as what they call
([layers of your own](folding.md#layers-of-your-own)). A subclass of a layer of this page that computes
otherwise than its class is refused whatever its class does; one that only fixes arguments converts as its
class. An argument that a file does not have is refused as well, such as `data_format="channels_first"` or
an interpolation of `UpSampling2D` other than "nearest".

A function that computes what a layer does, such as `conv`, `matmul` or `max_pool`, is read as that layer,
with its constants as the weights: it takes one tensor of float32, and constants beside it. `einsum` is a
product along the last axis (`"bhwc,cd->bhwd"`), `cast` one to float32, `power` a square or a root, and
`image.resize` one to whole multiples of the size. `repeat`, `roll` and `tile` take axes of a sample.
"""


def _rule_kinds(name: str) -> frozenset[type]:
    (rule,) = [rule for rule in DEFAULT_RULES if type(rule).__name__ == name]
    found: frozenset[type] = rule.kinds  # type: ignore[attr-defined]
    return found


def layer_row(kind: type) -> dict[str, bool]:
    """What becomes of a layer of this class."""
    binarizing = kind in _rule_kinds("LowerSelfBinarizingLayers")
    threshold = kind in _rule_kinds("BatchNormToAffine") | _rule_kinds("RescalingToAffine")
    moved = kind in _rule_kinds("LowerReshapes") | _rule_kinds("Pool1DToPool2D")
    as_2d = kind in Conv1DToConv2D.kinds
    lowering = LOWERINGS.get(kind)
    return {
        "removed": kind in _rule_kinds("RemoveTrainingOnlyLayers"),
        "binary": binarizing or kind in SELECTING or kind in _rule_kinds("LowerReshapes"),
        "integer": threshold,
        "float32": lowering is not None or binarizing or threshold or moved or as_2d,
        "int8": (lowering is not None and lowering.int8 is not None)
        or binarizing
        or threshold
        or moved
        or as_2d,
    }


def operation_row(name: str) -> dict[str, bool]:
    """What becomes of a function of keras.ops."""
    kind = _operation(name)
    layer = layer_class(kind)
    if layer is not None:
        row = layer_row(layer)
        return {column: row[column] or row["removed"] for column in ("float32", "int8")}
    lowering = LOWERINGS.get(kind)
    return {
        "float32": lowering is not None,
        "int8": lowering is not None and lowering.int8 is not None,
    }


def _operation(name: str) -> type:
    """The class of the operation that a function makes when it is called, or else that of its name."""
    x = keras.Input((4, 4, 3))
    row = keras.KerasTensor((3,))
    for arguments in ((x,), (x, x), (x, 1), (x, row, row, -1)):
        try:
            made = keras.tree.flatten(getattr(keras.ops, name)(*arguments))[0]
        except Exception:
            continue
        history = getattr(made, "_keras_history", None)
        if history is not None and made is not x:
            return type(history.operation)
    try:
        return operation_class(name)
    except AttributeError:
        return object


def _layer_classes(module: object) -> Iterator[tuple[str, type]]:
    for name in sorted(dir(module)):
        value = getattr(module, name)
        public = isinstance(value, type) and issubclass(value, keras.layers.Layer)
        # Keras has some classes under a second name. A layer of one's own, or a Lambda, is what it calls.
        own = value in (keras.layers.Layer, keras.layers.Lambda)
        if public and not own and value.__name__ == name:
            yield name, value


def _table(header: str, rows: dict[str, dict[str, bool]]) -> str:
    columns = list(next(iter(rows.values())))
    lines = [f"| {header} | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for name, row in rows.items():
        entries = " | ".join(_TRUE if row[column] else _FALSE for column in columns)
        lines.append(f"| `{name}` | {entries} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(lines)


def _refused(rows: dict[str, dict[str, bool]]) -> str:
    names = [name for name, row in rows.items() if not any(row.values())]
    return ", ".join(f"`{name}`" for name in names)


def page() -> str:
    """Returns the text of the page."""
    parts = [_HEAD, f"\nKeras {keras.__version__}.\n"]
    for title, module in (("keras_sbn.layers", keras_sbn.layers), ("keras.layers", keras.layers)):
        rows = {name: layer_row(kind) for name, kind in _layer_classes(module)}
        known = {name: row for name, row in rows.items() if any(row.values())}
        parts.append(f"\n## {title}\n\n{_table('layer', known)}\n")
        if len(known) < len(rows):
            parts.append(f"\nRefused: {_refused(rows)}.\n")
    functions = sorted(
        name for name in dir(keras.ops) if callable(getattr(keras.ops, name)) and name[0].islower()
    )
    rows = {name: operation_row(name) for name in functions}
    known = {name: row for name, row in rows.items() if any(row.values())}
    parts.append(f"\n## keras.ops\n\n{_table('function', known)}\n\nRefused: {_refused(rows)}.\n")
    return "".join(parts)


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    if not parser.parse_args().check:
        PAGE.write_text(page())
        return 0
    return int(PAGE.read_text() != page())


if __name__ == "__main__":
    sys.exit(main())

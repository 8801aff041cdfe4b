"""Memory and operations of BinaryNet's files, layer by layer, read from the files themselves.

python benchmarks/cost.py --out docs

float32 and int8 as TensorFlow converts them, Larq -> LCE, and ours for both targets, with the integer
first layer. Prints the tables of docs/cost.md and draws docs/cost.png.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import networks
import numpy as np
from conversion import child
from inference import tensorflow_files

import keras_sbn
from keras_sbn.tflite.costs import kernel_of, producers
from keras_sbn.tflite.reader import FileInfo, OperatorInfo, TensorInfo, read_file

LAYERS = (*(f"conv {i}" for i in range(1, 7)), *(f"dense {i}" for i in range(1, 4)))
TYPES = ("binary", "int8", "float")
#: Operators before a convolution that give its input a border, or cut off what it does not read.
LAYING_OUT = ("PAD", "PADV2", "SLICE")
#: Bytes of a value by the type of a tensor; LCE stores 32 binary values in an int32.
SIZES = {"float32": 4, "int32": 4, "int8": 1, "uint8": 1}


@dataclass
class Layer:
    """What one layer of the network became: its constants, the values it writes, and its products."""

    name: str
    constants: int = 0
    written: int = 0
    macs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TYPES, 0))


def layers_of(content: bytes) -> list[Layer]:
    """The operators of a file, each group up to the next kernel as one layer.

    What comes before the first kernel belongs to the first layer; to the layer that reads it what lays an
    input out, and what is made of constants alone, as a kernel that is unpacked when the file is loaded.
    """
    info = read_file(content)
    made_by = producers(info.operators)
    layers: list[Layer] = []
    waiting: list[tuple[OperatorInfo, Any]] = []
    for op, row in zip(info.operators, keras_sbn.inspect(content).layers, strict=True):
        waiting.append((op, row))
        if kernel_of(op, made_by) is not None:
            layers.append(Layer(LAYERS[len(layers)]))
        elif not layers or _is_constant(op) or op.name in LAYING_OUT:
            continue
        for member, found in waiting:
            layer = layers[-1]
            layer.constants += member.constant_bytes
            if not _is_constant(member):
                layer.written += sum(_bytes(tensor) for tensor in member.outputs)
            for kind in TYPES:
                layer.macs[kind] += getattr(found, f"{kind}_macs")
        waiting = []
    return layers


def _is_constant(op: OperatorInfo) -> bool:
    return all(tensor is None or tensor.bytes for tensor in op.inputs)


def _bytes(tensor: TensorInfo) -> int:
    return math.prod(tensor.shape) * SIZES[tensor.dtype]


def peak_memory(info: FileInfo) -> int:
    """The most bytes of values alive at once: what an operator reads, writes, and others still need.

    Kernels that are unpacked when the file is loaded count, as they stay.
    """
    last: dict[int, int] = {}
    for index, op in enumerate(info.operators):
        last.update({id(tensor): index for tensor in op.inputs if tensor is not None})
    for tensor in info.outputs:
        last[id(tensor)] = len(info.operators)
    kept = sum(_bytes(tensor) for op in info.operators if _is_constant(op) for tensor in op.outputs)
    alive = {id(tensor): _bytes(tensor) for tensor in info.inputs}
    peak = 0
    for index, op in enumerate(info.operators):
        if not _is_constant(op):
            alive.update({id(tensor): _bytes(tensor) for tensor in op.outputs})
        peak = max(peak, sum(alive.values()))
        alive = {key: size for key, size in alive.items() if last.get(key, -1) > index}
    return peak + kept


def files() -> dict[str, bytes]:
    """The five files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "larq.tflite"
        child("larq_peer.py", "BinaryNet", str(path))
        larq = path.read_bytes()
    float32, int8 = tensorflow_files(networks.float_net(), networks.images(32))
    folded = keras_sbn.fold(networks.binary_net(), input_scaling=(1 / 128, -1))
    ours = {target: keras_sbn.convert(folded, target=target).content for target in ("tflite", "lce")}
    return {
        "float32": float32,
        "int8": int8,
        "Larq → LCE": larq,
        "ours, tflite": ours["tflite"],
        "ours, lce": ours["lce"],
    }


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def draw(found: dict[str, list[Layer]], sizes: dict[str, int], path: Path) -> None:
    """Two rows of bars: bytes of the constants by layer, and products by what multiplies them."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    memory, operations = figure.subplots(1, 2, sharey=True)
    names = list(found)[::-1]
    colors = colormaps["viridis"](np.linspace(0.05, 0.95, len(LAYERS)))
    for index, color in enumerate(colors):
        widths = [found[name][index].constants / 1e6 for name in names]
        starts = [sum(layer.constants for layer in found[name][:index]) / 1e6 for name in names]
        memory.barh(names, widths, left=starts, color=color, label=LAYERS[index])
    for name in names:
        total = sum(layer.constants for layer in found[name]) / 1e6
        memory.annotate(f" {sizes[name] / 1e6:.2f} MB", (total, name), va="center", fontsize=9)
    memory.set_xlim(0, 1.2 * max(sizes.values()) / 1e6)
    memory.set_xlabel("constants, MB, by layer (the number is the file)")
    memory.legend(fontsize=7, ncols=1, loc="lower right")
    for kind, color in zip(TYPES, ("#3b7dd8", "#e0a030", "#b03a2e"), strict=True):
        before = TYPES[: TYPES.index(kind)]
        widths = [sum(layer.macs[kind] for layer in found[name]) / 1e6 for name in names]
        starts = [sum(layer.macs[k] for layer in found[name] for k in before) / 1e6 for name in names]
        operations.barh(names, widths, left=starts, color=color, label=kind)
    operations.set_xlabel("multiply-accumulates of one image, millions")
    operations.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=3)
    for axes in (memory, operations):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Prints the tables and draws the chart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder for cost.png")
    options = parser.parse_args()
    contents = files()
    found = {name: layers_of(content) for name, content in contents.items()}
    sizes = {name: len(content) for name, content in contents.items()}
    rows = []
    for name, layers in found.items():
        totals = {kind: sum(layer.macs[kind] for layer in layers) for kind in TYPES}
        rows.append(
            [
                name,
                f"{sizes[name]:,}",
                f"{sizes[name] / sizes['ours, lce']:.1f}",
                f"{peak_memory(read_file(contents[name])):,}",
                *(f"{totals[kind]:,}" for kind in TYPES),
            ]
        )
    header = ["file", "bytes", "× ours, lce", "peak values, bytes", *(f"{kind} MACs" for kind in TYPES)]
    print(table(header, rows))
    for title, attribute in (("Constants, bytes", "constants"), ("Values written, bytes", "written")):
        columns = [[getattr(layer, attribute) for layer in layers] for layers in found.values()]
        numbers = [*zip(*columns, strict=True), [sum(column) for column in columns]]
        by_layer = [
            [name, *(f"{number:,}" for number in row)]
            for name, row in zip((*LAYERS, "all"), numbers, strict=True)
        ]
        print(f"\n{title}\n\n{table(['layer', *found], by_layer)}")
    by_layer = []
    for layers in zip(*found.values(), strict=True):
        products = sum(layers[0].macs.values())
        by_layer.append([layers[0].name, f"{products:,}", *(_kinds(layer, products) for layer in layers)])
    print(f"\nMultiply-accumulates\n\n{table(['layer', '', *found], by_layer)}")
    draw(found, sizes, options.out / "cost.png")


def _kinds(layer: Layer, products: int) -> str:
    """What multiplies in a layer; with their number where that is not the one expected."""
    found = {kind: number for kind, number in layer.macs.items() if number}
    if sum(found.values()) == products:
        return " + ".join(found)
    return " + ".join(f"{number:,} {kind}" for kind, number in found.items())


if __name__ == "__main__":
    main()

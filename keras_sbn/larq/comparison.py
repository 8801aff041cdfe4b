"""A Larq model's file as LCE's own converter writes it, beside ours."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.conversion.report import ConversionReport
from keras_sbn.larq.process import beside_keras_2
from keras_sbn.larq.reading import convert_file
from keras_sbn.tables import format_table
from keras_sbn.verification.latency import benchmark


@dataclass(frozen=True)
class FileFigures:
    """What there is to say of one file.

    Attributes:
        file: Whose it is.
        file_bytes: Size of the file.
        kernels: Layers with a kernel.
        binary: Layers with a binary kernel.
        bitpacked: Of these, the ones that write bits.
        median_ms: Median latency of an image, in milliseconds, on one thread.
    """

    file: str
    file_bytes: int
    kernels: int
    binary: int
    bitpacked: int
    median_ms: float


def compare_with_larq(
    converted: ConvertedModel,
    path: str,
    modules: Sequence[str] = (),
    safe_mode: bool = True,
    runs: int = 20,
) -> list[FileFigures]:
    """Converts a Larq model's file with LCE's own converter and measures both files in turns.

    Args:
        converted: What `keras_sbn.convert` made of the model.
        path: File or folder of the Larq model.
        modules: See `from_larq`.
        safe_mode: See `from_larq`.
        runs: Runs of each file.

    Returns:
        The figures of Larq's file and of ours.

    Raises:
        ValueError: If the Larq model cannot be loaded or converted.
    """
    content = beside_keras_2(convert_file, path, tuple(modules), safe_mode)
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = Path(folder, "larq.tflite"), Path(folder, "keras_sbn.tflite")
        theirs.write_bytes(content)
        ours.write_bytes(converted.content)
        peer = ConvertedModel.load(theirs)
        latencies = benchmark([theirs, ours], runs=runs)
    entries = (("Larq → LCE", peer), (f"keras_sbn, target={converted.target!r}", converted))
    return [
        FileFigures(name, len(entry.content), *_layers(entry.report), latency.median_ms)
        for (name, entry), latency in zip(entries, latencies, strict=True)
    ]


def figures_table(figures: Sequence[FileFigures]) -> str:
    """The figures as a table."""
    header = ("file", "bytes", "binary layers", "that write bits", "median ms")
    rows = [
        (
            entry.file,
            f"{entry.file_bytes:,}",
            f"{entry.binary} of {entry.kernels}",
            str(entry.bitpacked),
            f"{entry.median_ms:.3f}",
        )
        for entry in figures
    ]
    return format_table(header, rows, "lrrrr")


def _layers(report: ConversionReport) -> tuple[int, int, int]:
    """Layers with a kernel, those of them that are binary, and those of these that write bits."""
    kernels = [row for row in report.layers if row.weights]
    binary = [row for row in kernels if row.kind == "binary"]
    bits = [row for row in binary if row.output_type == "bitpacked" and _direct(row.operators)]
    return len(kernels), len(binary), len(bits)


def _direct(operators: Sequence[str]) -> bool:
    """Whether the kernel writes the bits itself, and no operator after it packs them."""
    return operators[-1] != "LceQuantize"

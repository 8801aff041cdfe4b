"""What Arm's Ethos-U compiler makes of a file: which operators run on the NPU, how much flash it takes.

The compiler, vela, is a program of the package `ethos-u-vela`. It runs in a process and a folder of its
own, as it reads a file that need not be trusted and prints much.
"""

from __future__ import annotations

import csv
import importlib.util
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from keras_sbn.extras import remedy

#: The NPUs that vela compiles for: their MACs a cycle are the number at the end.
NPUS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)
_LINE = re.compile(r"^\s+(NPU|CPU): (\S+) = (.*) \(outputs (\[.*\])\)$", re.MULTILINE)
_LONGEST_REASON = 1000
_SECONDS = 1800


@dataclass(frozen=True)
class NpuReport:
    """What a file becomes on an NPU.

    Attributes:
        npu: Name of the NPU.
        on_npu: The operators that run on it, as vela names them, with what they write.
        on_cpu: Likewise of those that the processor beside it has to run.
        flash_bytes: What weights and commands take of flash.
        ram_bytes: What activations take of RAM.
        weights: Number of weights.
        weight_bytes: What they take, compressed.
    """

    npu: str
    on_npu: tuple[str, ...]
    on_cpu: tuple[str, ...]
    flash_bytes: int
    ram_bytes: int
    weights: int
    weight_bytes: int

    @property
    def bits_per_weight(self) -> float:
        """Bits that a weight takes in flash."""
        return 8 * self.weight_bytes / max(self.weights, 1)

    def __str__(self) -> str:
        count = len(self.on_npu) + len(self.on_cpu)
        lines = [
            f"{self.npu}: {len(self.on_npu)} of {count} operators run on the NPU",
            *(f"  on the CPU: {operator}" for operator in self.on_cpu),
            f"{self.flash_bytes:,} bytes of flash, {self.ram_bytes:,} bytes of RAM",
            f"{self.weights:,} weights in {self.weight_bytes:,} bytes, "
            f"{self.bits_per_weight:.2f} bits each",
        ]
        return "\n".join(lines)


def compile_for_npu(content: bytes, npu: str) -> NpuReport:
    """Compiles a file for an NPU, and says what it becomes there.

    Args:
        content: The bytes of a `.tflite` file.
        npu: One of `NPUS`.

    Raises:
        ImportError: If ethos-u-vela is not installed.
        ValueError: If there is no such NPU, or vela refuses the file; the message has its reason.
    """
    if npu not in NPUS:
        raise ValueError(f"Expected `npu` to be one of {list(NPUS)}. Received: npu={npu!r}")
    if importlib.util.find_spec("ethosu") is None:
        raise ImportError(
            f"Compiling for {npu} needs ethos-u-vela, which is not installed: {remedy('vela')}"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "network.tflite").write_bytes(content)
        # In a folder of its own, so that what `-m` finds there first is nothing.
        command = [sys.executable, "-W", "ignore", "-m", "ethosu.vela", "network.tflite"]
        command += ["--accelerator-config", npu, "--show-cpu-operations", "--output-dir", "out"]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        summaries = sorted((folder / "out").glob("*_summary_*.csv"))
        if done.returncode or not summaries:
            reason = _reason(done.stdout + done.stderr)
            raise ValueError(f"Expected a file that vela compiles for {npu}. Received: {reason}")
        with summaries[0].open(newline="") as file:
            row = next(csv.DictReader(file))
    placed: dict[str, list[str]] = {"NPU": [], "CPU": []}
    for where, kind, output, shape in _LINE.findall(done.stdout):
        placed[where].append(f"{kind} {output} {shape}")
    return NpuReport(
        npu,
        tuple(placed["NPU"]),
        tuple(placed["CPU"]),
        _kibibytes(row, "on_chip_flash", "off_chip_flash"),
        _kibibytes(row, "sram", "dram"),
        int(float(row["total_original_weights"])),
        int(float(row["total_npu_encoded_weights"])),
    )


def _kibibytes(row: dict[str, str], *memories: str) -> int:
    return round(1024 * sum(float(row[f"{memory}_memory_used"]) for memory in memories))


def _reason(said: str) -> str:
    """The end of what vela says, without its warnings."""
    lines = [line.strip() for line in said.splitlines() if not line.startswith("Warning:")]
    return (
        "; ".join(line for line in lines if line)[-_LONGEST_REASON:] or "an error that it does not name"
    )

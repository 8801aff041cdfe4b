"""Reads what TFLite's `benchmark_model` prints, and LCE's `lce_benchmark_model`, which is made from it.

The tool runs the network a while to warm up and then to measure, and prints a line of statistics of each,

    count=50 first=58154 curr=53809 min=53077 max=60727 avg=55043.2 std=1562

in microseconds, to which newer versions add `p5`, `median` and `p95`; then a line with the time the
interpreter took to start, and the memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"([0-9.]+(?:e[+-]?[0-9]+)?)"
_INIT = re.compile(rf"\bInit: {_NUMBER}, .*Inference \(avg\): {_NUMBER}")
_MEMORY = re.compile(rf"Memory footprint delta .*\boverall={_NUMBER}")
_ERRORS = re.compile(r"ERROR|[Ff]ail|[Cc]ould not|unresolved|not found|[Cc]annot")


@dataclass(frozen=True)
class Timings:
    """What the tool measured, in milliseconds a sample.

    Attributes:
        runs: Number of runs.
        mean_ms: Their mean.
        low_ms: The shortest.
        high_ms: The longest.
        deviation_ms: Standard deviation.
        median_ms: The median, or `None`: older versions do not print it.
        init_ms: Time until the first run.
        memory_mb: How much memory came to be used, about, or `None` where the tool cannot tell.
    """

    runs: int
    mean_ms: float
    low_ms: float
    high_ms: float
    deviation_ms: float
    median_ms: float | None
    init_ms: float
    memory_mb: float | None


def parse_timings(text: str) -> Timings:
    """Reads the output of a run.

    Args:
        text: All that the tool wrote, to both of its streams.

    Returns:
        The numbers of the runs that count, not of those that warm up.

    Raises:
        ValueError: If there are none; the message has what the tool complains of.
    """
    if "unresolved custom op" in text and "Lce" in text:
        raise ValueError(
            "Expected a tool with the operators of the Larq Compute Engine. Received: TFLite's "
            "benchmark_model, which lacks them. Give LCE's lce_benchmark_model, or convert with "
            "--target tflite"
        )
    lines = [line for line in text.splitlines() if re.search(r"\bcount=\d", line)]
    found = _INIT.search(text)
    fields: dict[str, str] = dict(re.findall(rf"\b(\w+)={_NUMBER}", lines[-1])) if lines else {}
    if found is None or not {"count", "curr"} <= set(fields):
        complaints = [line.strip() for line in text.splitlines() if _ERRORS.search(line)]
        said = complaints or [line.strip() for line in text.splitlines() if line.strip()][-3:]
        raise ValueError(
            "Expected the timings that benchmark_model prints. Received: "
            f"{' | '.join(said[:5]) or 'nothing'}"
        )
    init, mean = (float(value) for value in found.groups())

    def milliseconds(name: str) -> float:
        # Where all runs take the same time the tool says it once.
        return float(fields[name] if name in fields else fields["curr"]) / 1e3

    memory = _MEMORY.search(text)
    return Timings(
        runs=int(float(fields["count"])),
        mean_ms=mean / 1e3,
        low_ms=milliseconds("min"),
        high_ms=milliseconds("max"),
        deviation_ms=float(fields.get("std", 0)) / 1e3,
        median_ms=milliseconds("median") if "median" in fields else None,
        init_ms=init / 1e3,
        memory_mb=float(memory.group(1)) if memory else None,
    )

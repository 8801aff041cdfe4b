"""`keras-sbn benchmark`: latency of several .tflite files, side by side, on this machine."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from keras_sbn.cli.common import OK, add_command, count
from keras_sbn.tables import format_table


def add_to(commands: Any) -> None:
    """Adds the subcommand."""
    parser = add_command(
        commands,
        "benchmark",
        "measure the latency of several .tflite files side by side",
        "Runs the files in turns, so that whatever else the machine does meets all of them alike. Files\n"
        "with operators of the Larq Compute Engine run in its interpreter, others in stock TFLite.",
        "keras-sbn benchmark binary.tflite float.tflite --runs 100 --threads 1",
    )
    parser.add_argument("files", nargs="+", help=".tflite files")
    parser.add_argument("--runs", type=count, default=50, help="runs of each file (default: %(default)s)")
    parser.add_argument("--threads", type=count, default=1, help="threads (default: %(default)s)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measures and prints."""
    from keras_sbn.conversion.latency import benchmark

    found = benchmark(options.files, runs=options.runs, num_threads=options.threads)
    if options.json:
        print(json.dumps([asdict(latency) for latency in found]))
        return OK
    fastest = min(latency.median_ms for latency in found)
    rows = [
        (
            latency.file,
            latency.kernels,
            f"{latency.file_bytes:,}",
            f"{latency.median_ms:.3f}",
            f"{latency.low_ms:.3f} to {latency.high_ms:.3f}",
            f"{latency.median_ms / fastest:.2f}",
        )
        for latency in found
    ]
    header = ("file", "kernels", "bytes", "median ms", "10 % to 90 %", "times the fastest")
    print(format_table(header, rows, "llrrrr"))
    print(f"{options.runs} runs each in turns, threads: {options.threads}")
    return OK

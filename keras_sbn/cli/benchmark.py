"""`keras-sbn benchmark`: latency of several .tflite files, side by side, here or on a device."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from keras_sbn.cli.common import OK, add_command, add_runtime, count, file_to_read
from keras_sbn.documentation import page
from keras_sbn.tables import format_table


def add_to(commands: Any) -> None:
    """Adds the subcommand."""
    parser = add_command(
        commands,
        "benchmark",
        "measure the latency of several .tflite files side by side",
        "Runs the files in turns, so that whatever else the machine does meets all of them alike. Files\n"
        "with operators of the Larq Compute Engine run with the kernels of keras-sbn-kernels or in its\n"
        "interpreter, others in stock TFLite; the table says which.\n"
        "With --adb or --ssh they run one after another on a device, in a benchmark tool built for it.",
        "keras-sbn benchmark binary.tflite float.tflite --runs 100 --threads 1\n"
        "         keras-sbn benchmark binary.tflite float.tflite --adb --benchmark-model "
        "lce_benchmark_model",
    )
    parser.add_argument("files", nargs="+", type=file_to_read, help=".tflite files")
    parser.add_argument("--runs", type=count, default=50, help="runs of each file (default: %(default)s)")
    parser.add_argument("--threads", type=count, default=1, help="threads (default: %(default)s)")
    add_runtime(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--adb", action="store_true", help="run on an Android device")
    where.add_argument(
        "--ssh", metavar="HOST", help="run on a device that ssh reaches, as pi@raspberrypi"
    )
    parser.add_argument("--serial", help="which Android device, of several")
    parser.add_argument(
        "--benchmark-model",
        metavar="PROGRAM",
        help="with --adb and --ssh: TFLite's benchmark_model or LCE's lce_benchmark_model, built for the "
        "device",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measures and prints."""
    if options.adb or options.ssh is not None:
        if options.runtime is not None:
            raise ValueError(
                "Expected no --runtime with --adb and --ssh: on a device --benchmark-model runs files. "
                f"Received: --runtime {options.runtime}"
            )
        return _run_on_device(options)
    given = [name for name in ("serial", "benchmark_model") if getattr(options, name) is not None]
    if given:
        raise ValueError(f"Expected --adb or --ssh with --{given[0].replace('_', '-')}")
    return _run_here(options)


def _run_on_device(options: argparse.Namespace) -> int:
    from keras_sbn.deployment.devices import AdbDevice, SshDevice
    from keras_sbn.deployment.remote_latency import benchmark_on

    if options.benchmark_model is None:
        raise ValueError(
            "Expected --benchmark-model, the tool to run on the device: TFLite's benchmark_model for "
            "stock files, LCE's lce_benchmark_model for its own as well. How to get them: "
            + page("devices")
        )
    for name in (*options.files, options.benchmark_model):
        with open(name, "rb"):  # Before the device is asked for anything.
            pass
    device = AdbDevice(options.serial) if options.adb else SshDevice(options.ssh)
    tool, threads = options.benchmark_model, options.threads
    found = benchmark_on(device, options.files, tool, runs=options.runs, num_threads=threads)
    if options.json:
        print(json.dumps([asdict(latency) for latency in found]))
        return OK
    fastest = min(latency.timings.mean_ms for latency in found)
    rows = []
    for latency in found:
        timings = latency.timings
        rows.append(
            (
                latency.file,
                latency.kind,
                f"{latency.file_bytes:,}",
                f"{timings.mean_ms:.3f}",
                f"{timings.low_ms:.3f} to {timings.high_ms:.3f}",
                "" if timings.memory_mb is None else f"{timings.memory_mb:.1f}",
                f"{timings.mean_ms / fastest:.2f}",
            )
        )
    header = ("file", "kind", "bytes", "mean ms", "least to most", "memory MB", "times the fastest")
    print(format_table(header, rows, "llrrrrr"))
    print(f"{found[0].timings.runs} runs or more each, threads: {threads}")
    return OK


def _run_here(options: argparse.Namespace) -> int:
    from keras_sbn.verification.latency import benchmark

    found = benchmark(
        options.files,
        runs=options.runs,
        num_threads=options.threads,
        runtime=options.runtime,
        isolated=True,
    )
    if options.json:
        print(json.dumps([asdict(latency) for latency in found]))
        return OK
    fastest = min(latency.median_ms for latency in found)
    rows = [
        (
            latency.file,
            latency.runtime,
            f"{latency.file_bytes:,}",
            f"{latency.median_ms:.3f}",
            f"{latency.low_ms:.3f} to {latency.high_ms:.3f}",
            f"{latency.median_ms / fastest:.2f}",
        )
        for latency in found
    ]
    header = ("file", "runtime", "bytes", "median ms", "10 % to 90 %", "times the fastest")
    print(format_table(header, rows, "llrrrr"))
    print(f"{options.runs} runs each in turns, threads: {options.threads}")
    return OK

"""File size, conversion time and peak memory, ours and Larq's, in one run, each beside its goal.

python benchmarks/conversion.py

BinaryNet for CIFAR-10 and a residual network go through Larq and LCE's converter, and through ours for
both targets, each in a process of its own, several times in turns. Mismatches: mismatches.py.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import networks

from keras_sbn.tables import format_table

HERE = Path(__file__).parent


def child(script: str, *arguments: str) -> dict[str, Any]:
    """Runs a script of this folder and returns the JSON it prints last."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), environment.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE / script), *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.strip().splitlines()[-1])


def median(runs: list[dict[str, Any]], name: str) -> float:
    """The median of one figure over several runs."""
    return statistics.median(run[name] for run in runs)


def cost(name: str, repeats: int, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Converts one network in every way, `repeats` times, and prints a row a way."""
    source = str(folder / f"{name}.keras")
    model = networks.NETWORKS[name][0]()
    model.save(source)
    runs: dict[str, list[dict[str, Any]]] = {"Larq -> LCE": [], "lce": [], "tflite": []}
    for _ in range(repeats):
        runs["Larq -> LCE"].append(child("larq_peer.py", name, str(folder / "larq.tflite")))
        for target in ("lce", "tflite"):
            path = str(folder / f"{target}.tflite")
            runs[target].append(child("our_conversion.py", target, source, path))
    peer = runs["Larq -> LCE"]
    rows = [
        (
            way,
            f"{found[0]['file_bytes']:,}",
            f"{median(found, 'seconds'):.2f}",
            f"{median(found, 'seconds') / median(peer, 'seconds'):.2f}",
            f"{median(found, 'peak_bytes') / 2**20:.0f}",
            f"{median(found, 'peak_bytes') / median(peer, 'peak_bytes'):.2f}",
        )
        for way, found in runs.items()
    ]
    header = (name, "bytes", "seconds", "of peer (goal: at most 1)", "peak MiB", "of peer (goal: 1.5)")
    print(format_table(header, rows, "lrrrrr"), flush=True)
    return runs


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="conversions of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {name: cost(name, options.repeats, Path(folder)) for name in networks.NETWORKS}
    size = found["BinaryNet"]["lce"][0]["file_bytes"]
    print(
        f"BinaryNet, lce: {size:,} bytes (goal: at most 1,360,000), "
        f"{8 * size / networks.WEIGHTS:.3f} bits a weight; one bit a weight: "
        f"{-(-networks.WEIGHTS // 8):,} bytes; medians of {options.repeats} runs"
    )


if __name__ == "__main__":
    main()

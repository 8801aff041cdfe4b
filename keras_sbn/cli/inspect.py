"""`keras-sbn inspect`: which operators of a .tflite file run binary, and where the file runs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from keras_sbn.cli.common import OK, add_command, file_to_read
from keras_sbn.tflite.npu import NPUS, compile_for_npu


def add_to(commands: Any) -> None:
    """Adds the subcommand."""
    parser = add_command(
        commands,
        "inspect",
        "say which operators of a .tflite file run binary, where the file runs, and why not elsewhere",
        "Reads any .tflite file, for the Larq Compute Engine or for stock TFLite, from any converter.",
        "keras-sbn inspect model.tflite\n         keras-sbn inspect model.tflite --npu ethos-u55-128",
    )
    parser.add_argument("file", type=file_to_read, help="a .tflite file")
    parser.add_argument(
        "--npu",
        choices=NPUS,
        metavar="NPU",
        help=f"compile it for an Arm NPU and say what runs there: {', '.join(NPUS)}",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Reads and prints."""
    from keras_sbn.conversion.inspection import inspect
    from keras_sbn.tflite.places import table, where_it_runs
    from keras_sbn.tflite.reader import content_of, named, read_file

    report = inspect(options.file)
    content = content_of(options.file)
    with named(options.file):
        places = where_it_runs(read_file(content))
        on_npu = None if options.npu is None else compile_for_npu(content, options.npu)
    if options.json:
        found = {**report.to_dict(), "places": [asdict(place) for place in places]}
        if on_npu is not None:
            found["npu"] = {**asdict(on_npu), "bits_per_weight": on_npu.bits_per_weight}
        print(json.dumps(found, indent=2))
        return OK
    print(f"{report}\n\n{table(places)}")
    if on_npu is not None:
        print(f"\n{on_npu}")
    return OK

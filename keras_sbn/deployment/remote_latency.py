"""How long files take on another device."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.deployment.benchmark_model import Timings, parse_timings
from keras_sbn.deployment.devices import Device
from keras_sbn.documentation import page

#: Processors by the number that an ELF file has for them: their names, and what `uname -m` says where
#: they or their 64-bit successors run.
_MACHINES = {
    183: ("aarch64", "arm64"),
    40: ("armv7l", "armv8l", "armv6l", "arm", "aarch64"),
    62: ("x86_64", "amd64"),
    3: ("i686", "i386", "x86_64"),
    243: ("riscv64",),
}
_WHERE = (
    "TFLite's benchmark_model runs stock files, LCE's lce_benchmark_model these and its own. Both are "
    f"built for a device with CMake or Bazel: {page('devices')}"
)


@dataclass(frozen=True)
class RemoteLatency:
    """What a device measured of one file.

    Attributes:
        file: The path.
        file_bytes: Its size.
        kind: `"LCE"`; `"portable"`, a stock file with binary layers; or what multiplies in it: `"int8"`,
            `"float32"`, or both.
        timings: The numbers.
    """

    file: str
    file_bytes: int
    kind: str
    timings: Timings


def benchmark_on(
    device: Device,
    files: Sequence[str | os.PathLike[str]],
    tool: str | os.PathLike[str],
    *,
    runs: int = 50,
    num_threads: int = 1,
) -> list[RemoteLatency]:
    """Copies a tool and files to a device, runs them there, and removes them again.

    Args:
        device: Where to run.
        files: Paths of `.tflite` files.
        tool: TFLite's `benchmark_model` or LCE's `lce_benchmark_model`, built for the device.
        runs: Positive number of runs of each file.
        num_threads: Positive number of threads.

    Returns:
        A `RemoteLatency` a file, in order.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a file is not a TFLite model, the tool is not a program for the device, or it
            measures nothing.
        DeviceError: If a file cannot be copied.
    """
    try:
        models = [ConvertedModel.load(path) for path in files]
        _check_tool(Path(tool), device.machine())
        device.push(Path(tool), "benchmark_model")
        found = []
        for path, model in zip(files, models, strict=True):
            device.push(Path(path), "model.tflite")
            timings = _measure(device, str(path), model, runs, num_threads)
            found.append(RemoteLatency(str(path), len(model.content), kind_of_file(model), timings))
        return found
    finally:
        device.remove_folder()


def _measure(device: Device, path: str, model: ConvertedModel, runs: int, num_threads: int) -> Timings:
    # XNNPACK runs the stock operators; those of LCE are not its own to take.
    options = "" if model.target == "lce" else " --use_xnnpack=true"
    done = device.run(
        f"cd {shlex.quote(device.folder)} && chmod +x benchmark_model && ./benchmark_model "
        f"--graph=model.tflite --num_runs={runs} --num_threads={num_threads}{options}"
    )
    try:
        return parse_timings(f"{done.stdout}\n{done.stderr}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def kind_of_file(model: ConvertedModel) -> str:
    """What a file is, to tell it from others in a table."""
    if model.target == "lce":
        return "LCE"
    kinds = {row.kind for row in model.report.layers if row.weights}
    if "binary" in kinds:
        return "portable"
    names = [name for kind, name in (("int8", "int8"), ("float", "float32")) if kind in kinds]
    return " and ".join(names) or "no layers"


def _check_tool(path: Path, machine: str) -> None:
    """Refuses what the device cannot run, before anything is copied."""
    with open(path, "rb") as file:
        header = file.read(20)
    if header[:4] != b"\x7fELF" or len(header) < 20:
        raise ValueError(f"Expected a program for the device. Received: {path}, which is none. {_WHERE}")
    number = int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")
    names = _MACHINES.get(number, (f"machine {number}",))
    if machine and machine not in names:
        raise ValueError(f"Expected a program for {machine}. Received: {path}, for {names[0]}. {_WHERE}")

"""Do the portable files decide on 64-bit ARM as Keras does here?

python tests/arm --out out/arm --samples 100
python tests/arm --cases residual

Runs the demo's network, BinaryNet for CIFAR-10 and a residual network in the aarch64 build of LiteRT
under qemu's emulation, as a Cortex-A53 (plain NEON) and as a processor with dot products, matrix products
and vectors of any length, and compares the class and every single sign with the hard Keras model's. A
residual network with a float first layer runs as well, to show how far floats differ; it fails nothing.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from root import ArmRoot, MissingToolError, make_root

from keras_sbn.cli.start import start_keras

#: Names of qemu, and what is chosen on them. The emulation of SME in qemu 7.2 gives wrong sums in
#: TensorFlow's own 8-bit networks as well, so it is left out.
CPUS = {
    "cortex-a53": "NEON",
    "max,sme=off": "NEON with dot products, i8mm and SVE",
}


def main() -> int:
    """Makes the root, runs, compares, prints; 0 if all decisions are equal, 1 if not, 2 if it cannot."""
    start_keras()
    from cases import CASES

    parser = argparse.ArgumentParser(prog="python tests/arm", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/arm"), help="folder, kept for the next run")
    parser.add_argument("--samples", type=int, default=100, help="inputs of each (default: %(default)s)")
    parser.add_argument(
        "--cases",
        nargs="+",
        choices=CASES,
        default=list(CASES),
        metavar="CASE",
        help=f"networks to run, of {', '.join(CASES)} (default: all)",
    )
    options = parser.parse_args()
    # TensorFlow remarks that each network is traced anew.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    started = time.perf_counter()
    try:
        root = make_root(options.out)
    except MissingToolError as error:
        print(f"test-arm: {error}", file=sys.stderr)
        return 2
    say(f"root and emulator are there after {time.perf_counter() - started:.0f} s: {root.emulator}")
    say(root.run("cortex-a53", ["-c", _WHO]).strip())

    failures = 0
    for name in options.cases:
        case = CASES[name](options.out, options.samples, say)
        for cpu, kernels in CPUS.items():
            began = time.perf_counter()
            outputs, signs = run_case(root, cpu, case, options.out)
            classes = int(np.count_nonzero(outputs.argmax(-1) != case.outputs.argmax(-1)))
            wrong = {name: int(np.count_nonzero(signs[name] != case.signs[name])) for name in case.signs}
            total = sum(value.size for value in case.signs.values())
            say(
                f"{case.name} on {cpu} ({kernels}): {len(outputs)} inputs, classes unlike Keras's: "
                f"{classes}; signs unlike Keras's: {sum(wrong.values())} of {total:,}; outputs differ by "
                f"at most {np.abs(outputs - case.outputs).max():.2g}; {time.perf_counter() - began:.0f} s"
            )
            for sign, number in wrong.items():
                if number:
                    say(f"    {sign}: {number} of {case.signs[sign].size:,}")
            if case.exact:
                failures += classes + sum(wrong.values())
    verdict = "every decision equals Keras's" if failures == 0 else f"{failures} decisions differ"
    say(f"{verdict}; {time.perf_counter() - started:.0f} s in all")
    return 0 if failures == 0 else 1


_WHO = (
    "import platform, sys, numpy, importlib.metadata as m;"
    "print(platform.machine(), 'Python', sys.version.split()[0], 'NumPy', numpy.__version__,"
    "'ai-edge-litert', m.version('ai-edge-litert'))"
)


def run_case(root: ArmRoot, cpu: str, case, folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Runs the file as it is for its outputs, and with its decisions as outputs for the signs.

    Returns:
        The outputs of the file, and the signs by name.

    Raises:
        RuntimeError: If the two runs give other outputs.
    """
    np.save(folder / "inputs.npy", case.inputs)
    found = []
    for content in (case.content, case.with_decisions()):
        (folder / "model.tflite").write_bytes(content)
        files = [str((folder / name).resolve()) for name in ("model.tflite", "inputs.npy", "outputs.npz")]
        root.run(cpu, [str(Path(__file__).with_name("run_file.py")), *files])
        with np.load(files[2]) as arrays:
            found.append([arrays[name].reshape(len(case.inputs), -1) for name in arrays.files])
    (alone,), (outputs, *signs) = found
    if not np.array_equal(alone, outputs):
        raise RuntimeError(f"{case.name} gives other outputs when its decisions are outputs as well")
    unpacked = {}
    for (name, wanted), packed in zip(case.signs.items(), signs, strict=True):
        bits = np.unpackbits(packed, axis=1, count=int(np.prod(wanted.shape[1:])))
        unpacked[name] = bits.reshape(wanted.shape).astype(bool)
    return outputs.reshape(case.outputs.shape), unpacked


def say(line: str) -> None:
    """Prints at once, as a run takes minutes."""
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())

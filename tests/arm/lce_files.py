"""Files for the one-bit kernels on ARM: the demo's network, BinaryNet, the residual one, random networks.

    python tests/arm/lce_files.py FOLDER --networks 50

`make -C kernels test-arm FILES="FOLDER/*.tflite"` runs them with the values of this machine beside.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[:0] = [str(Path(__file__).parents[2] / "benchmarks"), str(Path(__file__).parents[1])]


def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", type=int, default=50, help="random ones (default: %(default)s)")
    options = parser.parse_args()
    from keras_sbn.cli.start import start_keras

    start_keras()
    import networks
    from cases import residual_network, trained_demo
    from mismatches import draw_networks

    import keras_sbn

    options.folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, model: Any) -> None:
        keras_sbn.convert(model, "lce").save(options.folder / f"{name}.tflite")

    write("demo", trained_demo(options.folder.parent, print))
    write("binarynet", networks.binary_net())
    write("residual", residual_network())
    written: list[str] = []

    def write_one(model: Any, x: Any) -> None:
        name = f"random{len(written):03d}"
        try:
            write(name, model)
        except ValueError:
            # Without LCE's operators there is nothing to run, and some are refused.
            return
        written.append(name)

    draw_networks(lambda: options.networks - len(written), 0, write_one)
    print(f"{len(written) + 3} files in {options.folder}")


if __name__ == "__main__":
    main()

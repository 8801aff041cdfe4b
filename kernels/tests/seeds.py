"""Writes files of every operator for the fuzzer: `python seeds.py FOLDER`."""

import sys
from pathlib import Path

import numpy as np
from files import Conv, File, random_conv
from test_model import chain
from test_operators import residual_file


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    contents = [random_conv(rng).content() for _ in range(12)]
    contents.append(chain()[2])
    for as_int8 in (False, True):
        conv = Conv(height=4, width=4, channels=64, filters=45, output="float32", pad_value=0)
        scale, shift = rng.normal(0, 1, (2, 45)).astype(np.float32)
        contents.append(residual_file(conv, scale, shift, True, as_int8))
    file = File()
    x, y = file.tensor((1, 6, 6, 2), "int32"), file.tensor((1, 3, 3, 2), "int32")
    z = file.tensor((1, 3, 3, 40), "int8", (0.5, 3))
    options = {"filter_height": 2, "filter_width": 2, "stride_height": 2, "stride_width": 2, "padding": 1}
    file.operator("LceBMaxPool2d", [x], [y], options)
    file.operator("LceDequantize", [y], [z])
    contents.append(file.write([x], [z]))
    for index, content in enumerate(contents):
        (folder / f"{index}.tflite").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Proof on 64-bit ARM: the files of `write_cases.py` under qemu, in the aarch64 wheel of LiteRT.

    python tests/arm [FILE.tflite...]

The library is compiled by ziglang for aarch64; the emulated machine is that of the tests of keras_sbn,
`tests/arm/root.py`, made once in its `out/arm` (570 MB). What differs from this machine is counted.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

import write_cases

import hatch_build

_HERE = Path(__file__).parent
_KERNELS = _HERE.parent.parent
#: Names of qemu. Its emulation of SME in 7.2 gives wrong sums in XNNPACK.
PROCESSORS = ("cortex-a53", "max,sme=off")


def _root_module():
    path = _KERNELS.parent / "tests" / "arm" / "root.py"
    spec = importlib.util.spec_from_file_location("arm_root", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["arm_root"] = module
    spec.loader.exec_module(module)
    return module


def main(files: list[Path]) -> int:
    out = _KERNELS / "out"
    arm = _root_module().make_root(_KERNELS.parent / "out" / "arm")
    package = arm.packages / "keras_sbn_kernels"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(_KERNELS / "keras_sbn_kernels", package, ignore=shutil.ignore_patterns("*.so"))
    hatch_build.compile_library(package / "libsbn_kernels.so", "linux-aarch64")
    shutil.rmtree(out / "cases", ignore_errors=True)
    write_cases.main(out / "cases", files)
    wrong = 0
    for processor in PROCESSORS:
        try:
            print(processor, arm.run(processor, [str(_HERE / "run_cases.py"), str(out / "cases")]))
        except RuntimeError as error:
            print(error)
            wrong += 1
    return wrong


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]) > 0)

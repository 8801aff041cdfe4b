"""The networks as C on every processor there is here: x86, 64-bit ARM and Cortex-M, against Keras.

python tests/c_code --networks 100
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent.parent))

import c_programs

#: Networks in one program: a board has 4 MB of flash.
_TOGETHER = 40


def main() -> int:
    """Builds, compiles, runs, prints; 0 if all outputs are equal, 2 where a tool is missing."""
    parser = argparse.ArgumentParser(prog="python tests/c_code", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/c"), help="folder for the programs")
    parser.add_argument("--networks", type=int, default=100, help="random ones (default: %(default)s)")
    options = parser.parse_args()
    missing = {platform.name: text for platform in c_programs.PLATFORMS if (text := platform.missing())}
    for name, text in missing.items():
        print(f"test-c: {name} needs {text}", file=sys.stderr)
    if missing:
        return 2

    from c_networks import known_cases, random_cases

    started = time.perf_counter()
    known = known_cases()
    cases = [*known, *random_cases(options.networks)]
    random = len(cases) - len(known)
    say(f"{len(known)} known networks; {random} of {options.networks} random ones convert, and")
    say(f"the others are refused by the name of a layer; {time.perf_counter() - started:.0f} s")
    for platform in c_programs.PLATFORMS:
        began = time.perf_counter()
        count = 0
        for first in range(0, len(cases), _TOGETHER):
            part = cases[first : first + _TOGETHER]
            found = c_programs.run_cases(platform, part, options.out / str(first))
            count += c_programs.compare(part, found, platform.name)
        say(f"{platform.name}: {count:,} outputs equal Keras's; {time.perf_counter() - began:.0f} s")
    print_sizes(known, options.out)
    return 0


def print_sizes(cases: list[c_programs.Case], folder: Path) -> None:
    """What each known network takes on a Cortex-M3, compiled for size."""
    say("on a Cortex-M3, -Os: bytes of code, constants (flash) and static memory (RAM)")
    for case in cases:
        name = case.code.name
        source, out = folder / "0" / f"{name}.c", folder / f"{name}.o"
        command = [c_programs.CORTEX_M3.compiler, "-mcpu=cortex-m3", "-mthumb", "-std=c99", "-Os", "-c"]
        subprocess.run([*command, str(source), "-o", str(out)], check=True)
        sizes = subprocess.run(
            ["arm-none-eabi-size", str(out)], capture_output=True, text=True, check=True
        ).stdout.splitlines()[1]
        text, data, bss = map(int, sizes.split()[:3])
        code = text + data - case.code.constant_bytes
        say(f"{name}: {code:,} + {case.code.constant_bytes:,}, {bss:,}")


def say(line: str) -> None:
    """Prints at once, as a run takes minutes."""
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())

"""Damaged files at every door, for as long as you like: `make fuzz`, or

    python tests/fuzz --seconds 60 --doors npz image
    python tests/fuzz --atheris reader -max_total_time=60    # guided by coverage; needs atheris

Prints a table; files that end the interpreter's process or are taken wrongly are kept in out/fuzz.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path


def main() -> int:
    """Runs the doors that the command line names."""
    # The package of this clone, and the modules beside this one.
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for each door (default: %(default)s)")
    parser.add_argument("--doors", nargs="*", default=None, help="which (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first file")
    parser.add_argument("--atheris", metavar="DOOR", help="guided by coverage; takes libFuzzer's options")
    options, rest = parser.parse_known_args()
    warnings.simplefilter("ignore")
    if options.atheris:
        return _atheris(options.atheris, rest)
    from fuzz.doors import DOORS
    from fuzz.run import fuzz

    names = options.doors or list(DOORS)
    wrong = []
    print("| door | tried | survived | refused | ended | wrong |\n|---|---|---|---|---|---|", flush=True)
    for name in names:
        found = fuzz(DOORS[name], options.seconds, options.seed, keep=Path("out/fuzz"))
        print(found.row(), flush=True)
        wrong += [(name, *one) for one in found.wrong]
    for name, number, said in wrong:
        print(f"{name} {number}: {said[:500]}", file=sys.stderr)
    return 1 if wrong else 0


def _atheris(name: str, rest: list[str]) -> int:
    import atheris

    # The readers are in Python, so that the coverage of their branches leads on.
    with atheris.instrument_imports(include=["keras_sbn"], enable_loader_override=False):
        from fuzz.doors import DOORS

        door = DOORS[name]
        # What is found goes on from here the next time.
        corpus = Path("out/fuzz/corpus") / name
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(door.seeds()):
            (corpus / f"seed-{number}").write_bytes(seed)
            with tempfile.TemporaryDirectory() as folder:
                door.check(seed, Path(folder), False)

    def check(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            door.check(content, Path(folder), True)

    atheris.Setup([sys.argv[0], f"-artifact_prefix=out/fuzz/{name}-", *rest, str(corpus)], check)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())

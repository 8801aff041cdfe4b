"""Runs the cases of `write_cases.py` with every instruction set here, and counts what differs: FOLDER."""

import sys
from pathlib import Path

import numpy as np

from keras_sbn_kernels import Model, instruction_sets


def main(folder: Path) -> tuple[list[str], int]:
    """What was found, a line each, and how many values differ."""
    lines, wrong = [], 0
    usable = [name for name, has in instruction_sets().items() if has]
    for name in usable:
        cases = values = different = 0
        for path in sorted(folder.glob("*.npz")):
            case = np.load(path)
            inputs = [case[key] for key in sorted(case.files) if key.startswith("in")]
            expected = [case[key] for key in sorted(case.files) if key.startswith("out")]
            received = Model(case["content"].tobytes(), instructions=name).run(inputs)
            unlike = sum(int(np.count_nonzero(a != b)) for a, b in zip(expected, received, strict=True))
            if unlike:
                worst = max(
                    float(np.abs(a.astype(np.float64) - b).max())
                    for a, b in zip(expected, received, strict=True)
                )
                lines.append(f"{path.stem}: {unlike} values differ, by at most {worst:.3g}")
            cases += 1
            values += sum(array.size for array in expected)
            different += unlike
        lines.append(f"{name}: {cases} files, {values} values, {different} differ")
        wrong += different
    return lines, wrong


if __name__ == "__main__":
    found, wrong = main(Path(sys.argv[1]))
    if wrong:
        # A failure shows what is on standard error.
        sys.exit("\n".join(["Expected the values of the other machine. Received: others", *found]))
    print("\n".join(found))

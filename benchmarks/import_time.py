"""How much `import keras_sbn` adds to `import keras`: median over fresh processes.

python benchmarks/import_time.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys

CODE = """
import time, keras
started = time.perf_counter()
import keras_sbn
print(time.perf_counter() - started)
"""


def main() -> None:
    """Prints the median of nine processes."""
    runs = [
        float(
            subprocess.run(
                [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(9)
    ]
    print(f"import keras_sbn after import keras: {1e3 * statistics.median(runs):.1f} ms")


if __name__ == "__main__":
    main()

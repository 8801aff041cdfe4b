"""`predict` from many threads and from many processes: are the results equal, is memory flat, how fast?

python benchmarks/inference.py --load --calls 4000

Every call is one image, and every result is compared with that of one thread alone. Memory is what the
process holds resident: after the first tenth of the calls, and how much more after the last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.tables import format_table

_IMAGES = 64
_MEGABYTE = 1e6


def resident() -> int:
    """Bytes that this process holds in memory; 0 where the system does not say so in /proc."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def run(converted: ConvertedModel, threads: int, calls: int) -> dict[str, float]:
    """Calls `predict` so many times from so many threads.

    Returns:
        Wrong results, seconds, the median and the 99th percentile of a call in milliseconds, bytes after
        the first tenth of the calls, and bytes more at the end.
    """
    rng = np.random.default_rng(0)
    shape = converted.report.inputs[0].shape[1:]
    x = (rng.integers(0, 256, (_IMAGES, *shape)) / 128 - 1).astype("float32")
    expected = converted.predict(x)
    took: list[float] = []
    wrong = [0] * threads

    def serve(thread: int, count: int) -> None:
        for call in range(count):
            index = (7 * call + thread) % _IMAGES
            started = time.perf_counter()
            received = converted.predict(x[index : index + 1])
            took.append(1e3 * (time.perf_counter() - started))
            wrong[thread] += not np.array_equal(received[0], expected[index])

    def all_threads(count: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(serve, i, count // threads) for i in range(threads)]:
                done.result()

    all_threads(calls // 10)
    before = resident()
    took.clear()
    started = time.perf_counter()
    all_threads(calls)
    seconds = time.perf_counter() - started
    return {
        "wrong": sum(wrong),
        "seconds": seconds,
        "calls": len(took),
        "median": float(np.median(took)),
        "late": float(np.quantile(took, 0.99)),
        "bytes": before,
        "more": resident() - before,
    }


def run_in_processes(path: Path, processes: int, calls: int) -> dict[str, float]:
    """The same, from so many processes that start at the same moment, one thread each."""
    command = [sys.executable, __file__, str(path), "--calls", str(calls // processes)]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    # Each says when it has loaded, and waits for the others.
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    lines: list[str] = [""] * processes
    waiting = [
        threading.Thread(target=_finish, args=(child, lines, index))
        for index, child in enumerate(children)
    ]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    found = [json.loads(line) for line in lines]
    return {
        "wrong": sum(one["wrong"] for one in found),
        "seconds": max(one["seconds"] for one in found),
        "calls": sum(one["calls"] for one in found),
        "median": float(np.median([one["median"] for one in found])),
        "late": max(one["late"] for one in found),
        "bytes": max(one["bytes"] for one in found),
        "more": max(one["more"] for one in found),
    }


def _finish(child: subprocess.Popen, lines: list[str], index: int) -> None:
    lines[index], _ = child.communicate("go\n")


def table(files: dict[str, ConvertedModel], calls: int, say: Callable[[str], None] = print) -> None:
    """Prints a row for every file, way to call it and number of cores."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, converted in files.items():
            path = converted.save(Path(folder) / f"{name}.tflite")
            for allowed in [cores[:1], cores] if len(cores) > 1 else [cores]:
                if allowed:
                    os.sched_setaffinity(0, allowed)
                for kind, number in (("thread", 1), ("thread", 8), ("process", 1), ("process", 8)):
                    if kind == "thread":
                        found = run(converted, number, calls)
                    else:
                        found = run_in_processes(path, number, calls)
                    rows.append(
                        (
                            name,
                            f"{number} {kind}{'es' if kind == 'process' and number > 1 else ''}"
                            f"{'s' if kind == 'thread' and number > 1 else ''}",
                            len(allowed) or "",
                            f"{found['calls']:,}",
                            found["wrong"],
                            f"{found['calls'] / found['seconds']:.0f}",
                            f"{found['median']:.1f}",
                            f"{found['late']:.1f}",
                            f"{found['bytes'] / _MEGABYTE:.0f}",
                            f"{found['more'] / _MEGABYTE:+.1f}",
                        )
                    )
                    print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if cores:
        os.sched_setaffinity(0, cores)
    header = (
        *("file", "called from", "cores", "calls", "wrong", "calls a second"),
        *("median ms", "99 % ms", "MB a process", "MB more at the end"),
    )
    say(format_table(header, rows, "llrrrrrrrr"))


def main() -> None:
    """One of several processes: loads the file, says so, waits, and prints what it measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--calls", type=int, required=True)
    options = parser.parse_args()
    converted = ConvertedModel.load(options.file)
    _ = converted.runtime
    print("loaded", flush=True)
    sys.stdin.readline()
    print(json.dumps(run(converted, 1, options.calls)), flush=True)


if __name__ == "__main__":
    main()

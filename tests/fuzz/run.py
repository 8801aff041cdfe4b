"""Trying damaged files at a door, and counting."""

from __future__ import annotations

import random
import resource
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.doors import ENDED, REFUSED, SURVIVED, Door

#: A single file may take so long, and so much memory more than any before it.
_SECONDS = 90
_BYTES = 1 << 30
OUTCOMES = (SURVIVED, REFUSED, ENDED)


@dataclass
class Found:
    """What came of the files at one door."""

    door: str
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[int, str]] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """Number of files."""
        return sum(self.counts.values())

    def row(self) -> str:
        """A row of the table in docs/reliability.md."""
        shown = [self.tried, *(self.counts[name] for name in OUTCOMES), len(self.wrong)]
        return f"| {self.door} | {' | '.join(f'{count:,}' for count in shown)} |"


def fuzz(
    door: Door, seconds: float, seed: int = 0, files: int | None = None, keep: Path | None = None
) -> Found:
    """Tries damaged files until the time is up, or so many."""
    found = Found(door.name)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for content in door.seeds():  # Imports and first calls are not the file's.
            door.check(content, folder, False)
        end, number = time.monotonic() + seconds, seed
        while time.monotonic() < end and (files is None or found.tried < files):
            content, right = door.damaged(random.Random(f"{door.name} {number}"))
            outcome = outcome_of(door, content, folder, right)
            found.counts[outcome if outcome in OUTCOMES else "wrong"] += 1
            if outcome not in OUTCOMES:
                found.wrong.append((number, outcome))
            if keep is not None and outcome not in (SURVIVED, REFUSED):
                keep.mkdir(parents=True, exist_ok=True)
                kind = ENDED if outcome == ENDED else "wrong"
                (keep / f"{door.name}-{kind}-{number}").write_bytes(content)
            number += 1
    return found


def outcome_of(door: Door, content: bytes, folder: Path, right: bool) -> str:
    """What came of one file: a word, or what is wrong."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _limited():
            outcome = door.check(content, folder, right)
    except (Exception, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return outcome if more < _BYTES else f"{more:,} bytes of memory"


@contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise TimeoutError(f"no answer in {_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

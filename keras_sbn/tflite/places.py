"""Where a file runs, and why not elsewhere: one lookup from operators, types and versions to places.

What each place has stands in `place_data`. A place runs a file if it has every one of its operators, in
the types and the version that the file asks for; the reason why it does not is the first operator it
lacks. Nothing is run for this.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

from keras_sbn.tables import format_table
from keras_sbn.tflite import place_data as data
from keras_sbn.tflite.costs import WITH_KERNEL
from keras_sbn.tflite.reader import FileInfo, OperatorInfo

_RUNTIMES = (data.LCE, *data.LITERT_RELEASES)


@dataclass(frozen=True)
class Verdict:
    """Whether a file runs in one place.

    Attributes:
        place: Name of the place, such as "LiteRT".
        runs: Whether it runs there; of an NPU or a delegate, whether all of its operators do.
        since: The first release that was seen to read it, where it is known.
        reason: Why it does not run, or what is not known.
        tried: Whether the verdict is one that the tests of this package compare with the place itself.
            What is not tried is what the documentation of the place says.
    """

    place: str
    runs: bool
    since: str = ""
    reason: str = ""
    tried: bool = True


def types_of(op: OperatorInfo) -> str:
    """The types that an operator computes with, as `place_data` writes them.

    "int8", or "int8>uint8" where it writes another type; an operator with a kernel has that behind a
    star, "int16*int8".
    """
    source = op.input(2 if op.name == "TRANSPOSE_CONV" else 0)
    found = "" if source is None else source.dtype
    written = found if op.output is None else op.output.dtype
    kernel = op.input(1) if op.name in WITH_KERNEL else None
    read = found if kernel is None else f"{found}*{kernel.dtype}"
    return read if written == found else f"{read}>{written}"


def oldest_litert(info: FileInfo) -> str:
    """The oldest release of LiteRT that was seen to read a file, "" where it is the oldest of all."""
    newest = _newest(info)
    return "" if newest == data.LITERT_RELEASES[0] else f"LiteRT {newest}"


def _newest(info: FileInfo, since: str = data.LITERT_RELEASES[0]) -> str:
    """The release of LiteRT that has all operators of a file that any has, and not before `since`."""
    found = filter(None, map(_litert_release, info.operators))
    return max([since, *found], key=data.LITERT_RELEASES.index)


def where_it_runs(info: FileInfo) -> tuple[Verdict, ...]:
    """Returns a verdict a place, of a file that was read."""
    return (
        _verdict(info, data.LCE, _not_in_lce),
        _litert(info, "LiteRT with keras-sbn-kernels", data.LCE_OPERATORS, data.OLDEST_WITH_KERNELS),
        _litert(info, "LiteRT", frozenset(), data.LITERT_RELEASES[0]),
        _verdict(info, "TensorFlow Lite Micro", _not_in_micro),
        _verdict(info, "Arm Ethos-U55, U65 (all operators)", _not_in_ethos),
        _verdict(info, "LiteRT.js", _not_in_litert, tried=False),
        *(
            _verdict(info, delegate, functools.partial(_not_in_delegate, delegate), tried=False)
            for delegate in data.DELEGATES
        ),
    )


def table(verdicts: tuple[Verdict, ...]) -> str:
    """The verdicts as a table of text."""
    rows = []
    for one in verdicts:
        answer = "yes" if one.runs else "no"
        since = f"from {one.since} on" if one.runs and one.since else ""
        notes = [since, one.reason, "" if one.tried else "not run: by its documentation"]
        rows.append((one.place, answer, "; ".join(note for note in notes if note)))
    return format_table(("where", "runs", "why"), rows, "lll")


def _verdict(
    info: FileInfo, place: str, lacks: Callable[[OperatorInfo], str | None], tried: bool = True
) -> Verdict:
    for op in info.operators:
        reason = lacks(op)
        if reason is not None:
            written = "" if op.output is None else op.output.name
            return Verdict(place, False, reason=f"{reason} ({written})", tried=tried)
    return Verdict(place, True, tried=tried)


def _litert(info: FileInfo, place: str, custom: frozenset[str], since: str) -> Verdict:
    verdict = _verdict(info, place, lambda op: None if op.name in custom else _not_in_litert(op))
    return replace(verdict, since=_newest(info, since)) if verdict.runs else verdict


def _first_runtime(op: OperatorInfo) -> str | None:
    """The first of LCE and LiteRT's releases that was seen to have an operator, `None` if none was."""
    types = types_of(op)
    if types in data.REFUSED.get(op.name, ()):
        return None
    versions = _support(op).versions
    found = [runtime for runtime, highest in versions.items() if op.version <= highest][:1]
    if not found:
        return None
    found.append(data.TYPES_FROM.get(op.name, {}).get(types, data.LCE))
    return max(found, key=_RUNTIMES.index)


def _litert_release(op: OperatorInfo) -> str | None:
    """The first release of LiteRT that was seen to have an operator, `None` if none was."""
    first = _first_runtime(op)
    return data.LITERT_RELEASES[0] if first == data.LCE else first


def _support(op: OperatorInfo) -> data.Support:
    return data.OPERATORS.get(op.name, data.Support({}))


def _not_in_lce(op: OperatorInfo) -> str | None:
    if op.name in data.LCE_OPERATORS or _first_runtime(op) == data.LCE:
        return None
    if op.version > _support(op).versions.get(data.LCE, 0):
        return f"{_described(op)} is newer than it, or not there"
    return f"{_described(op)} is not there"


def _not_in_micro(op: OperatorInfo) -> str | None:
    types = _support(op).micro
    if not types:
        return f"{op.name} is not there"
    return None if types_of(op) in types else f"{_described(op)} is not there"


def _not_in_litert(op: OperatorInfo) -> str | None:
    return None if _litert_release(op) else f"{_described(op)} is not there"


def _not_in_ethos(op: OperatorInfo) -> str | None:
    return _on_the_cpu(op, _support(op).ethos)


def _not_in_delegate(delegate: str, op: OperatorInfo) -> str | None:
    there = delegate in _support(op).delegates
    return _on_the_cpu(op, data.DELEGATES[delegate] if there else frozenset())


def _on_the_cpu(op: OperatorInfo, types: frozenset[str]) -> str | None:
    """Why the processor beside it computes an operator: it has none, or not of these types or steps."""
    if _goes_backwards(op):
        return f"{op.name} of steps backwards runs on the CPU beside it"
    if types_of(op) in types:
        return None
    return f"{_described(op) if types else op.name} runs on the CPU beside it"


def _goes_backwards(op: OperatorInfo) -> bool:
    """Whether an operator is a slice like ``x[::-1]``."""
    strides = op.input(3) if op.name == "STRIDED_SLICE" else None
    values = None if strides is None else strides.values()
    return values is not None and bool((values < 0).any())


def _described(op: OperatorInfo) -> str:
    version = f" version {op.version}" if op.version > 1 else ""
    return f"{op.name}{version} of {types_of(op)}"

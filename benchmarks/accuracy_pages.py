"""Writes the tables of accuracy in README.md and docs, from the rows of the accuracy benchmark.

    python benchmarks/accuracy_pages.py            # writes the tables
    python benchmarks/accuracy_pages.py --check    # exit code 1 where a table is not that of the rows

The sentences stay as they are.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
from dataclasses import replace
from pathlib import Path

from accuracy_networks import RESIDUAL
from accuracy_report import Figure, Row, figures, table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "accuracy.csv"
ROOT = HERE.parent

#: The settings of the page's table, in its order: preset, title of its figures, and a shorter name.
SETTINGS = (
    ("tiny", "digits (digits)", "digits"),
    ("tiny", "mnist (mnist)", "MNIST, 14 × 14"),
    ("full", "mnist (mnist-small)", "MNIST, 28 × 28"),
    ("tiny", "cifar10 (vgg16)", "CIFAR-10, 16 × 16, 4 convolutions"),
    ("small", "cifar10 (vgg32)", "CIFAR-10, 16 × 16, VGG 32"),
    ("medium", "cifar10 (binarynet-8)", "BinaryNet/8, `medium`"),
    ("full", "cifar10 (binarynet-8)", "BinaryNet/8, `full`"),
    ("full", "cifar10 (binarynet-4)", "BinaryNet/4, `full`"),
    ("full", "cifar10 (resnet20)", "ResNet-20, `full`"),
)
STRAIGHT_THROUGH = ("ste", "approx", "swish")
#: The columns of the table in README.md, and its rows: what of them is best on the test images.
README_SETTINGS = tuple(SETTINGS[index][:2] for index in (0, 1, 3, 4))
README_METHODS = {
    "self-binarizing, defaults": ("ours",),
    "straight-through, the best of our three variants": STRAIGHT_THROUGH,
    "Larq, the best of the variants that were run": ("larq-ste", "larq-approx", "larq-swish"),
    "self-binarizing, the paper's exact gradient, ν to 10": ("exact-10-0.95",),
    "float32, ReLU": ("float-relu",),
}
#: The first of `SETTINGS` whose images are 32 × 32.
_WHOLE_IMAGES = 5
#: The columns of the page's table: of these methods the one that is best on the test images.
COLUMNS = (
    ("float-relu",),
    STRAIGHT_THROUGH,
    ("larq-ste", "larq-approx", "larq-swish"),
    ("hard-start",),
    ("ours",),
)
#: The columns of the appendix's table of schedules, and the method that each is compared with: the same,
#: hard from the first step.
SCHEDULES = {
    "ours": "hard-start",
    "own-logits": "own-logits-hard-start",
    "nu-100-0.5": "own-logits-hard-start",
    "nu-100": "own-logits-hard-start",
}
#: Which methods train the same network in a residual one, where no batch normalization makes the logits.
SAME = {"own-logits": "ours", "own-logits-hard-start": "hard-start"}

Difference = tuple[float, float]


def cell(methods: tuple[str, ...], panel: list[Figure]) -> str:
    """The figure of the best of some methods; nothing where none has run."""
    best = _best(methods, panel)
    if best is None:
        return ""
    again = ""
    if best.reestimated and methods != ("float-relu",):
        again = f" ({statistics.fmean(best.reestimated):.1f})"
    return f"{_mean_of_tests(best)}{again}, n = {len(best.test)}"


def _best(methods: tuple[str, ...], panel: list[Figure]) -> Figure | None:
    ran = [figure for figure in panel if figure.method in methods]
    return max(ran, key=lambda figure: figure.mean, default=None)


def _mean_of_tests(figure: Figure) -> str:
    error = "" if figure.standard_error is None else f" ± {figure.standard_error:.1f}"
    # 62.55 % is rounded up.
    return f"{figure.mean + 1e-9:.1f}{error}"


def ahead(panel: list[Figure], method: str, other: str, column: str) -> Difference | None:
    """By how many points a method is ahead of another one, and the standard error of this.

    Args:
        panel: The figures of a setting.
        method: Which method.
        other: Of which it is ahead.
        column: `"test"`, `"reestimated"` or `"validation"`.
    """
    by_name = {figure.method: getattr(figure, column) for figure in panel}
    mine, others = by_name.get(method, ()), by_name.get(other, ())
    if len(mine) < 2 or len(others) < 2:
        return None
    error = math.sqrt(sum(statistics.variance(found) / len(found) for found in (mine, others)))
    return statistics.fmean(mine) - statistics.fmean(others), error


def mean_of(differences: list[Difference | None]) -> Difference:
    """The mean of differences between independent runs, and its standard error."""
    known = [difference for difference in differences if difference is not None]
    error = math.sqrt(sum(error**2 for _, error in known)) / len(known)
    return statistics.fmean(value for value, _ in known), error


def _written(difference: Difference | None, digits: int = 1) -> str:
    if difference is None:
        return ""
    value, error = difference
    # Nothing is written as −0.0.
    return f"{round(value, digits) + 0.0:.{digits}f} ± {error:.{digits}f}".replace("-", "−")


def _written_mean(differences: list[Difference | None]) -> str:
    """With one digit more: the mean of several settings is known better than one of them."""
    return _written(mean_of(differences), 2)


def schedules_table(rows: list[Row]) -> str:
    """How far schedules are ahead of networks that are hard from the first step."""
    panels = [_with_same(figures(rows, preset).get(title, []), title) for preset, title, _ in SETTINGS]

    def column(method: str, of: str) -> list[Difference | None]:
        return [ahead(panel, method, SCHEDULES[method], of) for panel in panels]

    tested = {method: column(method, "reestimated") for method in SCHEDULES}
    validated = {method: column(method, "validation") for method in SCHEDULES}
    lines = [f"| | {' | '.join(f'`{method}`' for method in SCHEDULES)} |"]
    lines.append("|" + "---|" * (len(SCHEDULES) + 1))
    for index, (_, _, name) in enumerate(SETTINGS):
        lines.append(_line(name, [_written(tested[method][index]) for method in SCHEDULES]))
    lines.append(_line("mean of all", [_written_mean(tested[method]) for method in SCHEDULES]))
    whole = [_written_mean(tested[method][_WHOLE_IMAGES:]) for method in SCHEDULES]
    lines.append(_line("mean at 32 × 32", whole))
    both = [(found, found[_WHOLE_IMAGES:]) for found in validated.values()]
    entries = ["; ".join(map(_written_mean, pair)) for pair in both]
    lines.append(_line("the same on validation images, all; 32 × 32", entries))
    return "\n".join(lines)


def _with_same(panel: list[Figure], title: str) -> list[Figure]:
    """The figures of a residual network stand under both names of each pair of `SAME`."""
    if title.rpartition("(")[2].rstrip(")") not in RESIDUAL:
        return panel
    other = {same: name for name, same in SAME.items()}
    return panel + [
        replace(figure, method=other[figure.method]) for figure in panel if figure.method in other
    ]


def is_ahead(panel: list[Figure]) -> bool:
    """Whether the default is more than two standard errors ahead of each straight-through variant.

    Statistics are estimated again; variants with one run have no error and are left out.
    """
    found = [ahead(panel, "ours", other, "reestimated") for other in STRAIGHT_THROUGH]
    known = [difference for difference in found if difference is not None]
    return bool(known) and all(value > 2 * error for value, error in known)


def _line(name: str, entries: list[str]) -> str:
    return f"| {name} | {' | '.join(entries)} |".replace("|  |", "| |").replace("|  |", "| |")


def page(text: str, rows: list[Row]) -> str:
    """The page of one screen with the figures of the rows; the default is bold where `is_ahead`."""
    lines = text.splitlines()
    places = [i for i, line in enumerate(lines) if line.startswith("| ") and not line.startswith("| |")]
    for place, (preset, title, _) in zip(places, SETTINGS, strict=True):
        panel = figures(rows, preset)[title]
        name = lines[place].strip("|").split("|")[0].strip()
        *others, default = [cell(methods, panel) for methods in COLUMNS]
        if is_ahead(panel):
            value, count = default.rsplit(",", 1)
            default = f"**{value}**,{count}"
        lines[place] = _line(name, [*others, default])
    return "\n".join(lines) + "\n"


def readme(text: str, rows: list[Row]) -> str:
    """README.md with the figures of the rows."""
    lines = text.splitlines()
    for name, methods in README_METHODS.items():
        (place,) = [index for index, line in enumerate(lines) if line.startswith(f"| {name} |")]
        entries = []
        for preset, title in README_SETTINGS:
            best = _best(methods, figures(rows, preset)[title])
            entry = "" if best is None else f"{_mean_of_tests(best)} %"
            entries.append(f"{entry} (1 seed)" if best is not None and len(best.test) == 1 else entry)
        lines[place] = _line(name, entries)
    return "\n".join(lines) + "\n"


def appendix(text: str, rows: list[Row]) -> str:
    """The appendix with the tables of the rows.

    Raises:
        ValueError: If it has no place for one of them.
    """
    for preset in dict.fromkeys(row["preset"] for row in rows):
        for part in table(rows, preset).split("\n\n**"):
            heading, body = ("**" + part.removeprefix("**")).split("\n\n", 1)
            text = _with_table(text, heading + "\n\n", body)
    start = text.index("| | `ours` |")
    indent = text[text.rindex("\n", 0, start) + 1 : start]
    lines = schedules_table(rows).replace("\n", "\n" + indent)
    return _with_table(text, "", lines, start)


def _with_table(text: str, heading: str, body: str, start: int | None = None) -> str:
    """The text with another table behind a heading, or at a position."""
    if start is None:
        if heading not in text:
            raise ValueError(f"Expected a table with the heading {heading.strip()!r} in the appendix.")
        start = text.index(heading) + len(heading)
    end = text.find("\n\n", start)
    return text[:start] + body + (text[end:] if end >= 0 else "\n")


#: Where the tables stand, and what writes each file anew.
PAGES = {
    ROOT / "README.md": readme,
    ROOT / "docs" / "accuracy.md": page,
    ROOT / "docs" / "accuracy_appendix.md": appendix,
}


def main(arguments: list[str] | None = None) -> int:
    """Writes the pages, or compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    given = parser.parse_args(arguments)
    with RESULTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    different = {}
    for path, written in PAGES.items():
        text = path.read_text()
        found = written(text, rows)
        if found != text:
            different[path] = found
    if not given.check:
        for path, found in different.items():
            path.write_text(found)
    return int(given.check and bool(different))


if __name__ == "__main__":
    raise SystemExit(main())

"""The table and the plot of the accuracy benchmark, from the rows of its file of results."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, str]

#: Methods within so many points of the best binary one are drawn; of the others the mean is written.
_NEAR = 12


@dataclass(frozen=True)
class Figure:
    """What a method reached on a data set, over the seeds at its best learning rate.

    `validation`, `test`, `reestimated` and `soft` are percentages, one a seed, as far as measured;
    `differing` is the largest number of test images on which soft and hard network differed, `unfolded`
    that on which folded and hard did.
    """

    method: str
    learning_rate: str
    validation: tuple[float, ...]
    test: tuple[float, ...]
    reestimated: tuple[float, ...]
    soft: tuple[float, ...]
    differing: int | None
    unfolded: int | None

    @property
    def mean(self) -> float:
        return statistics.fmean(self.test)

    @property
    def deviation(self) -> float | None:
        """The standard deviation over the seeds; `None` with one."""
        return statistics.stdev(self.test) if len(self.test) > 1 else None

    @property
    def standard_error(self) -> float | None:
        """Of the mean."""
        return None if self.deviation is None else self.deviation / math.sqrt(len(self.test))


def figures(rows: list[Row], preset: str) -> dict[str, list[Figure]]:
    """The figures of every method, by data set and network, in the order of `accuracy_methods.METHODS`.

    Rows of older settings, whose hash is not the last one of that method, do not count. The learning
    rate is the one with the best mean accuracy on the validation images, over the seeds that ran at all
    learning rates; where the other seeds ran at another one, it is that.
    """
    groups: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["preset"] == preset:
            groups[row["dataset"], row["network"]][row["method"]].append(row)
    found = {}
    for (dataset, network), methods in groups.items():
        found[f"{dataset} ({network})"] = [
            figure_of(
                name, [row for row in methods[name] if row["config"] == methods[name][-1]["config"]]
            )
            for name in sorted(methods, key=_order)
        ]
    return found


def figure_of(method: str, rows: list[Row]) -> Figure:
    """The figure of one method from its rows."""
    by_rate: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        by_rate[row["learning_rate"]][row["seed"]] = row
    seeds = max(map(len, by_rate.values()))
    best = best_rate({rate: runs for rate, runs in by_rate.items() if len(runs) == seeds})
    mine = [by_rate[best][seed] for seed in sorted(by_rate[best], key=int)]

    def percentages(column: str) -> tuple[float, ...]:
        return tuple(100 * float(row[column]) for row in mine if row[column])

    def largest(column: str) -> int | None:
        return max((int(row[column]) for row in mine if row[column]), default=None)

    return Figure(
        method,
        best,
        percentages("validation"),
        percentages("test"),
        percentages("test_reestimated"),
        percentages("test_soft"),
        largest("soft_unlike_hard"),
        largest("folded_unlike_hard"),
    )


def best_rate(by_rate: dict[str, dict[str, Row]]) -> str:
    """The learning rate with the best validation accuracy, over the seeds that all of them have."""
    shared = set.intersection(*(set(runs) for runs in by_rate.values()))

    def score(rate: str) -> float:
        runs = by_rate[rate]
        return statistics.fmean(float(runs[seed]["validation"]) for seed in shared or runs)

    return max(by_rate, key=score)


def table(rows: list[Row], preset: str) -> str:
    """A Markdown table a data set: mean ± standard deviation over n seeds."""
    parts = []
    for title, found in figures(rows, preset).items():
        lines = [
            f"**{title}, preset {preset}**",
            "",
            "| method | learning rate | test accuracy, % | n | s.e. | validation | as trained | "
            "BN re-estimated | trained ≠ hard | folded ≠ hard |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for figure in found:
            lines.append(
                f"| {figure.method} | {figure.learning_rate} | {_spread(figure.test)} | "
                f"{len(figure.test)} | {_number(figure.standard_error)} | {_mean(figure.validation)} | "
                f"{_mean(figure.soft)} | {_mean(figure.reestimated)} | {_count(figure.differing)} | "
                f"{_count(figure.unfolded)} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts) if parts else f"No results of preset {preset} yet."


def _spread(values: tuple[float, ...]) -> str:
    mean = statistics.fmean(values)
    return f"{mean:.2f} ± {statistics.stdev(values):.2f}" if len(values) > 1 else f"{mean:.2f}"


def _mean(values: tuple[float, ...]) -> str:
    return f"{statistics.fmean(values):.2f}" if values else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def plot(rows: list[Row], preset: str, path: Path) -> None:
    """Draws every run as a dot and the mean with its standard error, a panel a data set.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    colors = {
        "float": "#7f7f7f",
        "straight-through": "#1f77b4",
        "larq": "#17becf",
        "recipe": "#9467bd",
        "ours": "#d62728",
    }
    found = figures(rows, preset)
    if not found:
        raise SystemExit(f"No results of preset {preset} yet.")
    height = 1.2 + 0.28 * max(len(panel) for panel in found.values())
    drawing, axes = plt.subplots(1, len(found), figsize=(1 + 4.2 * len(found), height), squeeze=False)
    for axis, (title, panel) in zip(axes[0], found.items(), strict=True):
        for position, figure in enumerate(panel):
            color = colors[_family(figure.method)]
            axis.plot(figure.test, [position] * len(figure.test), "o", color=color, alpha=0.35, ms=4)
            axis.errorbar(
                [figure.mean],
                [position],
                xerr=figure.standard_error or 0,
                fmt="|",
                color=color,
                ms=12,
                lw=2,
            )
        axis.set_yticks(range(len(panel)), [figure.method for figure in panel])
        axis.invert_yaxis()
        axis.grid(axis="x", alpha=0.3)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("test accuracy of the finished network, %")
        # Methods far from the best binary one would squeeze the others; they stand at the border.
        binary = [figure for figure in panel if _family(figure.method) != "float"] or panel
        best = max(figure.mean for figure in binary)
        near = [figure for figure in panel if abs(figure.mean - best) < _NEAR]
        left = min(min(figure.test) for figure in near) - 0.5
        right = max(max(figure.test) for figure in near) + 0.5
        for position, figure in enumerate(panel):
            if figure.mean < left:
                axis.annotate(f"← {figure.mean:.1f}", (left, position), fontsize=8, va="center")
            elif figure.mean > right:
                at = {"xy": (right, position), "va": "center", "ha": "right"}
                axis.annotate(f"{figure.mean:.1f} →", fontsize=8, **at)
        axis.set_xlim(left, right)
    drawing.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=110)
    plt.close(drawing)


def _order(method: str) -> int:
    from accuracy_methods import METHODS

    names = list(METHODS)
    return names.index(method) if method in names else len(names)


def _family(method: str) -> str:
    from accuracy_methods import METHODS

    known: Any = METHODS.get(method.partition("+")[0])
    return known.family if known else "ours"

"""Draws docs/images/method.png: the soft sign, its gradient, and the sharpness over a training."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from keras_sbn.schedules import Exponential

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PATH = Path(__file__).parent.parent / "docs" / "images" / "method.png"


def main() -> None:
    """Writes the picture."""
    x = np.linspace(-2, 2, 801)
    figure, (forward, gradient, rise) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.85, 4))
    for nu, color in zip((1, 3, 10, np.inf), colors, strict=True):
        hard = np.isinf(nu)
        y = np.where(x >= 0, 1.0, -1.0) if hard else np.tanh(nu * x)
        forward.plot(x, y, color=color, label="sign (ν = ∞)" if hard else f"ν = {nu}")
    forward.set(title="Weights and activations: tanh(ν·x)", xlabel="x", ylabel="b(x; ν)")
    forward.legend(loc="upper left")
    for nu, color in zip((3, 10), colors[1:], strict=False):
        gradient.plot(x, nu * (1 - np.tanh(nu * x) ** 2), color=color, label=f"exact, ν = {nu}")
    bounded = 1 - np.tanh(x) ** 2
    gradient.plot(x, bounded, "k--", label="bounded, every ν ≥ 1")
    gradient.set(title="Gradient", xlabel="x", ylabel="db/dx", ylim=(0, 14.5))
    gradient.legend(loc="upper right")
    schedule = Exponential()
    progress = np.linspace(0, 1, 401)
    values = np.array([schedule(p) for p in progress])
    soft = np.isfinite(values)
    rise.semilogy(progress[soft], values[soft], color=colors[1])
    end = progress[soft][-1]
    rise.axvspan(end, 1, color=colors[3], alpha=0.3)
    rise.text((1 + end) / 2, 1e3, "hard\n(ν = ∞)", ha="center")
    rise.set(title="Default schedule", xlabel="share of training", ylabel="sharpness ν", xlim=(0, 1))
    PATH.parent.mkdir(exist_ok=True)
    figure.savefig(PATH, dpi=130)
    print(PATH)


if __name__ == "__main__":
    main()

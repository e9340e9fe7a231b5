"""Draws where the recommended score and the number of parameters part: docs/depth-width.png.

``python tools/plot_depth_width.py WORK`` ranks the 40 networks of S1 distilled on CIFAR-10 in WORK
(a minute on two cores). How far the score places a network ahead of others of as many parameters is
drawn against its depth and the width of its last stage; the colour is the same of its distilled
accuracy.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from diswot.rank import main as rank

ROOT = Path(__file__).parents[1]
PROXIES = ["params", "layers", "embedding_width", "recommended"]
TRUTH = "cifar10_distilled"


def residuals(work: Path) -> pd.DataFrame:
    """The ranks of all columns of scores.csv, less what is linear in the rank by parameters.

    Scores are means of three seeds.
    """
    words = ["space=s1", f"proxy=[{','.join(PROXIES)}]", "seeds=3", f"hydra.run.dir={work}"]
    if rank(words) != 0:
        sys.exit(1)
    ranks = pd.read_csv(work / "scores.csv").groupby("arch").mean().rank()
    centred = ranks - ranks.mean()
    slopes = centred.mul(centred["params"], axis=0).sum() / (centred["params"] ** 2).sum()
    return centred - pd.DataFrame({name: centred["params"] * slopes[name] for name in centred})


def main() -> None:
    """Rank, then draw."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    work = Path(sys.argv[1]).resolve()
    ahead = residuals(work)
    sizes = pd.read_csv(work / "scores.csv").groupby("arch").mean()
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    largest = ahead[TRUTH].abs().max()
    for axes, (column, label) in zip(
        figure.subplots(1, 2, sharey=True),
        [("layers", "layers"), ("embedding_width", "channels of the last stage")],
        strict=True,
    ):
        points = axes.scatter(
            *(sizes[column], ahead["recommended"]),
            c=ahead[TRUTH],
            cmap="coolwarm",
            vmin=-largest,
            vmax=largest,
            edgecolors="0.4",
        )
        partial = ahead.corr()[column]
        axes.set_title(
            f"partial ρ: score {partial['recommended']:.2f}, accuracy {partial[TRUTH]:.2f}"
        )
        axes.set_xlabel(label)
        axes.axhline(0, color="0.7", linewidth=1, zorder=0)
    figure.axes[0].set_ylabel("places ahead by score, parameters held fixed")
    figure.colorbar(points, ax=figure.axes, label="the same by accuracy")
    figure.savefig(ROOT / "docs" / "depth-width.png", dpi=110)


if __name__ == "__main__":
    main()

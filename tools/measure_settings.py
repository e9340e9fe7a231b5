"""Ranks the known tables again with other settings: ``python tools/measure_settings.py WORK``.

Another number of classes and a trained teacher, three seeds each: what the readings of DisWOT's
score owe to them. Runs in WORK (a quarter of an hour on two cores; a second start goes on where the
first one ended), and stores experiments/proxies/settings.csv, of which ``make docs`` makes a table.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from measure_proxies import FURTHER, STORE, further_words

from diswot.rank import main as rank

SPACES = {
    "s0": ["space=s0"],
    "s1": ["space=s1"],
    "nasbench201": ["space=nasbench201", "benchmark.cells=live", "benchmark.sample=100"],
}
SETTINGS = {
    "default": [],
    "100 classes": ["num_classes=100"],
    "trained teacher": ["teacher.weights=embedded"],
}
PROXIES = (
    *("diswot", "semantic", "relation", "nst", "effective_width", "effective_params"),
    *("effective_rank_sqrt", "params", "recommended"),
)
COLUMNS = ["space", "dataset", "target", "n", "seeds", "proxy", "spearman", "spearman_lo"]
COLUMNS += ["spearman_hi", "spearman_std"]


def main() -> None:
    """Run what is left, then store."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    work, tables = Path(sys.argv[1]).resolve(), []
    for setting, words in SETTINGS.items():
        for space, of_space in SPACES.items():
            path = work / f"{space}_{setting.replace(' ', '_').lower()}"
            common = ["teacher=resnet56", "control=shuffled", "seeds=3", f"hydra.run.dir={path}"]
            proxies = [f"proxy=[{','.join(PROXIES)}]", *further_words()]
            if rank([*of_space, *words, *proxies, *common]) != 0:
                sys.exit(1)
            table = pd.read_csv(path / "rank.csv")
            kept = table["proxy"].str.removesuffix("@shuffled").isin([*PROXIES, *FURTHER])
            tables.append(table.loc[kept, COLUMNS].assign(setting=setting))
    pd.concat(tables).round(4).to_csv(STORE / "settings.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()

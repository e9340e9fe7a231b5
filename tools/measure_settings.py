"""Ranks the known tables again with other settings: ``python tools/measure_settings.py WORK``.

Three seeds each: what the readings of DisWOT's score owe to the number of classes and a trained
teacher, and what the recommended one owes to the mini-batch and the initialisation. Runs in WORK
(half an hour on two cores; a second start goes on where the first one ended); with names of
`SETTINGS` behind it, those alone, beside what is stored of the others. Stores
experiments/proxies/settings.csv, of which ``make docs`` makes a table.
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
WITHOUT_TEACHER = ("effective_width", "effective_params", "effective_rank_sqrt", "params")
WITHOUT_TEACHER += ("embedding_width", "recommended")
PROXIES = ("diswot", "semantic", "relation", "nst", *WITHOUT_TEACHER)
SETTINGS = {
    "default": ([], PROXIES),
    "100 classes": (["num_classes=100"], PROXIES),
    "trained teacher": (["teacher.weights=embedded"], PROXIES),
    "16 images": (["data.batch_size=16"], WITHOUT_TEACHER),
    "128 images": (["data.batch_size=128"], WITHOUT_TEACHER),
    "Kaiming": (["init=kaiming"], WITHOUT_TEACHER),
}
"""Words and proxies of each."""
COLUMNS = ["space", "dataset", "target", "n", "seeds", "proxy", "spearman", "spearman_lo"]
COLUMNS += ["spearman_hi", "spearman_std"]


def main() -> None:
    """Run what is left, then store."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    work, wanted = Path(sys.argv[1]).resolve(), sys.argv[2:] or list(SETTINGS)
    tables = dict(iter(pd.read_csv(STORE / "settings.csv").groupby("setting")))
    for setting in wanted:
        (words, names), measured = SETTINGS[setting], []
        proxies = [f"proxy=[{','.join(names)}]", *(further_words() if names is PROXIES else [])]
        for space, of_space in SPACES.items():
            path = work / f"{space}_{setting.replace(' ', '_').lower()}"
            common = ["teacher=resnet56", "control=shuffled", "seeds=3", f"hydra.run.dir={path}"]
            if rank([*of_space, *words, *proxies, *common]) != 0:
                sys.exit(1)
            table = pd.read_csv(path / "rank.csv")
            kept = table["proxy"].str.removesuffix("@shuffled").isin([*names, *FURTHER])
            measured.append(table.loc[kept, COLUMNS].assign(setting=setting))
        tables[setting] = pd.concat(measured)
    stored = pd.concat([tables[setting] for setting in SETTINGS if setting in tables])
    stored.round(4).to_csv(STORE / "settings.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()

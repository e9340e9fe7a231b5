"""Compares the candidates for the recommended score, by the protocol of docs/recommended-score.md.

``python tools/choose_score.py WORK`` reads the rankings that tools/measure_proxies.py left in WORK,
and in WORK/s1_small that of ``diswot rank space=s1 benchmark=s1_small`` with the candidates'
members. It stores experiments/proxies/candidates.csv (ρ of every candidate on every table, with a
bootstrap interval of its lead over the parameters) and left_out.csv (chosen without a space).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr

STORE = Path(__file__).parents[1] / "experiments" / "proxies"
ASSETS = Path(__file__).parents[1] / "src" / "diswot" / "assets"
SPACE = {"s0": "s0", "s1": "s1", "s1_small": "s1", "nasbench201_600": "nasbench201"}
"""The space of each table; a ranking of that name is in WORK."""
SINGLE = (
    *("effective_width", "effective_width_fan", "effective_params", "meco_opt", "effective_rank"),
    *("effective_rank_sqrt", "near", "swap", "nwot", "az_nas", "vkdnw", "diswot"),
)
BESIDE = ("params", "flops", "meco")
"""Baselines, and a published score that was no candidate."""
ENSEMBLES = (
    *(("params", "nst"), ("effective_width", "nst"), ("params", "effective_width")),
    *(("params", "embedding_width"), ("effective_width", "embedding_width")),
    *(("effective_width", "relation"), ("params", "meco_opt", "effective_rank_sqrt")),
    ("effective_width", "effective_rank_sqrt", "embedding_width"),
    ("params", "effective_width", "nst"),
)
CANDIDATES: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in (*BESIDE, *SINGLE)},
    **{" + ".join(members): members for members in ENSEMBLES},
}
MEMBERS = {member for members in CANDIDATES.values() for member in members}
RESAMPLES = 1000


def tables(work: Path, *, held_out: bool = False) -> dict[tuple[str, str], pd.DataFrame]:
    """Scores and accuracy by table and target: distilled accuracy where it is known.

    With ``held_out`` those of the small networks of S1 alone that were trained after the choice.
    """
    made = {}
    for name in SPACE:
        if not (file := work / name / "scores.csv").is_file():
            continue
        scores = pd.read_csv(file)
        if name == "s1_small":
            small = pd.read_csv(ASSETS / "s1_fashion_kd.csv").set_index("arch")
            scores = scores[scores["arch"].map(small["held_out"]) == held_out]
        elif held_out:
            continue
        scores = scores[scores["seed"] < 2]  # the protocol's two seeds, where there are more
        targets = [c for c in scores if c.endswith("_distilled")]
        targets = targets or [c for c in scores if c.endswith("_vanilla")]
        for target in targets:
            made[name, target] = scores.rename(columns={target: "accuracy"})
    return made


def ranks(scores: pd.DataFrame, members: tuple[str, ...]) -> pd.Series | None:
    """Sum of the members' ranks, mean over the seeds in which all were scored; by arch."""
    if not set(members) <= set(scores):
        return None
    seeds = []
    for _, own in scores.groupby("seed"):
        values = own[list(members)].to_numpy(float)
        if np.isnan(values).all(axis=0).any():
            continue
        lowest = np.where(np.isnan(values), -np.inf, values)  # what failed ranks below all
        total = sum(rankdata(column) for column in lowest.T)
        seeds.append(pd.Series(total, index=own["arch"]))
    return pd.concat(seeds, axis="columns").mean(axis="columns") if seeds else None


def compare(work: Path, *, held_out: bool = False) -> pd.DataFrame:
    """A row a candidate and target: ρ, ρ − ρ(params) and its interval over architectures."""
    rows = []
    for (name, target), scores in tables(work, held_out=held_out).items():
        of_archs = scores.groupby("arch", sort=False)[["accuracy", "params"]].first()
        accuracy, params = of_archs["accuracy"].to_numpy(), of_archs["params"].to_numpy()
        rng = np.random.Generator(np.random.PCG64(0))
        draws = rng.integers(len(accuracy), size=(RESAMPLES, len(accuracy)))
        base = np.array([spearmanr(params[d], accuracy[d])[0] for d in draws])
        of_params = spearmanr(params, accuracy)[0]
        for candidate, members in CANDIDATES.items():
            summed = ranks(scores, members)
            if summed is None:
                continue
            score = summed[of_archs.index].to_numpy()
            lead = np.array([spearmanr(score[d], accuracy[d])[0] for d in draws]) - base
            rho = spearmanr(score, accuracy)[0]
            low, high = np.nanquantile(lead, (0.025, 0.975))
            row = (candidate, SPACE[name], name, target, len(accuracy), rho, rho - of_params)
            rows.append((*row, low, high))
    columns = [
        "candidate",
        "space",
        "table",
        "target",
        "n",
        "spearman",
        "lead",
        "lead_lo",
        "lead_hi",
    ]
    return pd.DataFrame(rows, columns=columns)


def summary(compared: pd.DataFrame) -> pd.DataFrame:
    """Worst and mean lead over the tables, the targets of one averaged; the best by worst first."""
    leads = compared.groupby(["candidate", "table"])["lead"].mean().unstack()
    leads["worst"], leads["mean"] = leads.min(axis=1, skipna=False), leads.mean(axis=1)
    return leads.sort_values(["worst", "mean"], ascending=False)


def left_out(compared: pd.DataFrame) -> pd.DataFrame:
    """For every space: the best candidate on the others, and its lead on the one left out."""
    rows = []
    for space in dict.fromkeys(SPACE.values()):
        chosen = summary(compared[compared["space"] != space]).index[0]
        own = compared[(compared["space"] == space) & (compared["candidate"] == chosen)]
        rows += [(space, chosen, r.table, r.target, r.spearman, r.lead) for r in own.itertuples()]
    columns = ["left_out", "chosen", "table", "target", "spearman", "lead"]
    return pd.DataFrame(rows, columns=columns)


def main() -> None:
    """Compare, store and show."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    work = Path(sys.argv[1])
    compared = compare(work)
    results = {"candidates": compared, "left_out": left_out(compared)}
    results["held_out"] = compare(work, held_out=True)
    for name, table in results.items():
        table.round(4).to_csv(STORE / f"{name}.csv", index=False, lineterminator="\n")
    with pd.option_context(
        "display.width", 200, "display.max_columns", None, "display.max_rows", None
    ):
        sys.stdout.write(f"{summary(compared).round(3)}\n\n{results['left_out'].round(3)}\n")


if __name__ == "__main__":
    main()

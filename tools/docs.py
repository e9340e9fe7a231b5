"""Writes what pages say of members: ``make docs``.

Tables between ``<!-- members: GROUP -->`` and ``<!-- end -->`` are made of the YAML files of a
config group; those of docs/proxies.md also of what tools/measure_proxies.py has stored in
experiments/proxies, those of docs/distillers.md of experiments/distillers (what
tools/measure_distillers.py and benchmarks/training.py have stored) and of published figures.
``--check`` writes nothing and ends with 1 where a page is not up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from scipy.stats import t as student_t

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
STORE = ROOT / "experiments" / "proxies"
DISTILLERS = ROOT / "experiments" / "distillers"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GROUPS = (
    *("space", "teacher", "student", "proxy", "benchmark", "strategy", "data", "init", "budget"),
    *("latency", "distiller", "protocol", "trainer", "callbacks", "logger", "hydra/launcher"),
)
SPACES = ("s0", "nasbench201", "s1", "s2")
RANKINGS = ("s0", "s1", "nasbench201_600", "nasbench201_live", "nasbench201", "timm")

COMPARED = (
    *("params", "flops", "nwot", "effective_rank", "az_nas", "swap", "meco", "vkdnw", "diswot"),
)
"""Scores beside those that are chosen without a space."""


def members(group: str) -> dict[str, str]:
    """Names of a group's members, and the comment at the top of each file."""
    return {file.stem: _header(file) for file in sorted((CONF / group).glob("*.yaml"))}


def _header(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    lines = lines[1:] if lines[0].startswith("# @package") else lines
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return " ".join(comment).removesuffix(".")


def _table(columns: Sequence[str], rows: Iterator[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    escaped = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    return [f"| {' | '.join(line)} |" for line in escaped]


def all_groups() -> list[str]:
    """Every group and its members' names."""
    rows = ([f"`{g}`", ", ".join(f"`{name}`" for name in members(g))] for g in GROUPS)
    return _table(["group", "members"], rows)


def of_group(group: str) -> list[str]:
    """A line a member."""
    rows = ([f"`{name}`", what] for name, what in members(group).items())
    return _table([f"`{group}=`", "what it is"], rows)


def of_distillers() -> list[str]:
    """A line a distiller: the formula of its docstring, what it reads, and the YAML's weights."""
    from diswot.distillers import functional

    def rows() -> Iterator[list[str]]:
        for name, what in members("distiller").items():
            node = yaml.safe_load((CONF / "distiller" / f"{name}.yaml").read_text(encoding="utf-8"))
            module, _, kind = node.get("_target_", "").rpartition(".")
            made = getattr(import_module(module), kind) if module else None
            described = getattr(functional, name, made)
            formula = re.search(r"``(.+?)``", getattr(described, "__doc__", None) or "", re.DOTALL)
            cells = [" ".join(formula[1].split()) if formula else "–", _needs(made)]
            cells += [f"{node.get(key, '–')}" for key in ("weight", "ce_weight")]
            yield [f"`{name}`", what, *cells]

    return _table(["name", "what it is", "formula", "reads", "weight", "ce_weight"], rows())


def _needs(distiller: Any) -> str:
    """What a distiller's class says that it reads."""
    if distiller is None:
        return "–"
    words = ["logits"] * distiller.logits_only
    if not distiller.logits_only:
        words += ["features"]
        words += ["teacher's classifier"] * distiller.reads_classifier
    words += ["labels"] * bool(distiller.needs_labels)
    return ", ".join(words) + "; no teacher" * (not distiller.needs_teacher)


def of_trainings() -> list[str]:
    """What one student reached with every distiller, and how far that is from without and kd."""
    steps = pd.read_csv(DISTILLERS / "steps.csv", index_col="distiller")

    def rows() -> Iterator[list[str]]:
        for name, *cells in _compared("trainings.csv", ["none", "kd"], True):
            plain, _, balanced = name.partition(", ")
            step = steps.loc[plain]
            cells += [f"{step.cpu_over_kd:.2f}", f"{step.kept_mb:.1f}"]
            yield [f"`{plain}`{', ' * bool(balanced)}{balanced}", *cells]

    heads = ["distiller", "top-1, %", "minus `none`", "minus `kd`", "step over `kd`'s", "kept, MB"]
    return _table(heads, rows())


def of_others(kind: str) -> list[str]:
    """What another student, or one with few images, reached with some distillers."""
    rows = (
        [f"`{name}`", *cells] for name, *cells in _compared(f"{kind}.csv", ["none", "kd"], True)
    )
    return _table(["distiller", "top-1, %", "minus `none`", "minus `kd`"], rows)


def of_chains() -> list[str]:
    """What students of students reached."""
    heads = ["training", "top-1, %", "minus alone", "minus taught by resnet56"]
    return _table(heads, _compared("chains.csv", ["alone", "taught by resnet56"]))


def of_published() -> list[str]:
    """Mean and least gain of every published distiller over pairs of one family and of two."""
    table = pd.read_csv(ROOT / "experiments" / "cifar100_students" / "paper.csv")
    table = table[table.row.str.contains("→")].pivot(index="row", columns="column", values="value")
    gains = table.drop(columns=["alone", "teacher", "params"]).sub(table["alone"], axis=0)
    kinds = gains.index.str.replace(r"[\d_].*?(?= →|$)", "", regex=True).str.split(" → ")
    same = [teacher == student for teacher, student in kinds]
    other = [not each for each in same]

    def cell(found: pd.Series) -> str:
        known = found.dropna()
        if known.empty:
            return "–"
        return f"{known.mean():+.2f} ({known.min():+.2f}, {len(known)})"

    order = gains[same].mean().sort_values(ascending=False, kind="stable").index
    rows = ([name, cell(gains.loc[same, name]), cell(gains.loc[other, name])] for name in order)
    return _table(["published", "one family", "two families"], rows)


def _compared(file: str, others: list[str], by_top1: bool = False) -> Iterator[list[str]]:
    """Mean and deviation of each training, and its paired differences with 95 % intervals."""
    table = pd.read_csv(DISTILLERS / file)
    top1 = table.pivot_table(index="seed", columns="name", values="test_top1")
    best_first = top1.mean().sort_values(ascending=False, kind="stable").index

    def difference(name: str, other: str) -> str:
        paired = top1[name] - top1[other]
        half = student_t.ppf(0.975, len(paired) - 1) * paired.std() / len(paired) ** 0.5
        shown = " ▲" if paired.mean() > half else " ▼" if -paired.mean() > half else ""
        return "–" if name == other else f"{paired.mean():+.2f} ± {half:.2f}{shown}"

    for name in best_first if by_top1 else table.name.unique():
        mean = f"{top1[name].mean():.2f} ± {top1[name].std():.2f}"
        yield [str(name), mean, *(difference(name, other) for other in others)]


def of_support() -> list[str]:
    """What every proxy needs and where it works; a dash where it was not measured yet."""
    measured = pd.read_csv(STORE / "support.csv", keep_default_na=False)
    known = {(row.proxy, row.space): row for row in measured.itertuples()}
    needs = dict(pd.read_csv(STORE / "needs.csv", keep_default_na=False).to_numpy())

    def cell(name: str, space: str) -> str:
        row = known.get((name, space))
        if row is None:
            return "–"
        seconds = f", {float(row.seconds):.2f} s" if row.seconds != "" else ""
        return f"{row.scored}/{row.tried}{seconds}{f' ({row.reason})' if row.reason else ''}"

    rows = (
        [
            *(f"`{name}`", what, ", ".join(needs.get(name, "").split()) or "–"),
            *(cell(name, space) for space in SPACES),
        ]
        for name, what in members("proxy").items()
    )
    return _table(["proxy", "what it is", "needs", *SPACES], rows)


def of_ranking(space: str) -> list[str]:
    """Every measured proxy on every target of a space, the best first, its control beside it."""
    table = pd.read_csv(STORE / f"{space}.csv")
    lines: list[str] = []
    for (dataset, target), own in table.groupby(["dataset", "target"], sort=False):
        controls = own[own["control"]]
        controls = controls.set_index(controls["proxy"].str.removesuffix("@shuffled"))
        lines += ["", f"### {dataset}, {target}", ""] if lines else [f"### {dataset}, {target}", ""]
        ranked = own[~own["control"]].sort_values("spearman", ascending=False, kind="stable")
        rows = (_ranked(row, controls) for _, row in ranked.iterrows())
        columns = [
            "proxy",
            "ρ",
            "95 % interval",
            "seeds",
            "± seeds",
            "P@10",
            "nDCG",
            "ρ − ρ(params)",
            "interval",
        ]
        columns += ["ρ, params fixed", "control ρ", "ρ − ρ(control)", "failed"]
        lines += _table(columns, rows)
    return lines


def of_targets(space: str) -> list[str]:
    """ρ of every measured proxy on all targets of a space, the best when distilled first."""
    table = pd.read_csv(STORE / f"{space}.csv")
    distilled = table[table["target"] == "distilled"].groupby("proxy")["spearman"].mean()
    names = distilled.sort_values(ascending=False, kind="stable").index
    table["target"] = table["dataset"] + " " + table["target"]
    targets = list(dict.fromkeys(table["target"]))

    def cell(row: pd.Series) -> str:
        mark = " ▲" if row["better_than_params"] else ""
        failed = "failed" if row["failed"] == row["n"] * row["seeds"] else ""
        return failed or f"{_number(row['spearman'])} ({_interval(row, 'spearman')}){mark}"

    def rows() -> Iterator[list[str]]:
        for name in names:
            own = table[table["proxy"] == name].set_index("target")
            mark = " ○" if own["baseline"].any() else ""
            yield [f"`{name}`{mark}", *(cell(own.loc[target]) for target in targets)]

    return _table(["proxy", *targets], rows())


def _ranked(row: pd.Series, controls: pd.DataFrame) -> list[str]:
    name = row["proxy"]
    mark = f"{' ▲' if row['better_than_params'] else ''}{' ○' if row['baseline'] else ''}"
    control = [_number(controls.loc[name, "spearman"]) if name in controls.index else ""]
    control += [
        f"{_number(row['minus_control'])} ({_interval(row, 'minus_control')})" if control[0] else ""
    ]
    return [
        f"`{name}`{mark}",
        *(_number(row["spearman"]), _interval(row, "spearman"), str(row["seeds"])),
        *(_number(row["spearman_std"]), _number(row["precision_at_10pct"], 2)),
        _number(row.get("ndcg_at_10pct", float("nan"))),
        *(_number(row["minus_params"]), _interval(row, "minus_params")),
        *(_number(row["partial_spearman_params"]), *control, str(row["failed"])),
    ]


def _number(value: float, places: int = 3) -> str:
    rounded = round(value, places) + 0.0  # never −0.000
    return "–" if pd.isna(value) else f"{rounded:.{places}f}".replace("-", "−")


def _interval(row: pd.Series, key: str) -> str:
    low, high = row[f"{key}_lo"], row[f"{key}_hi"]
    return "–" if pd.isna(low) else f"{low:.2f} – {high:.2f}".replace("-", "−")


def of_combinations() -> list[str]:
    """DisWOT's parts alone and combined, on every target."""
    table = pd.read_csv(STORE / "combinations.csv")
    table["cell"] = [
        f"{_number(row.spearman)} ({row.low:.2f} – {row.high:.2f})" for row in table.itertuples()
    ]
    names = {"sum": "sum", "zscore": "z-score sum", "rank": "rank sum"}
    scores = list(dict.fromkeys(table["score"]))
    grid = table.pivot(index=["space", "dataset", "target"], columns="score", values="cell")
    rows = (
        [space, f"{dataset} {target}", *grid.loc[(space, dataset, target), scores]]
        for space, dataset, target in dict.fromkeys(grid.index.sort_values(ascending=False))
    )
    return _table(["space", "target", *(names.get(score, score) for score in scores)], rows)


def of_candidates() -> list[str]:
    """ρ of every candidate for the recommended score, and its lead over the parameters."""
    table = pd.read_csv(STORE / "candidates.csv")
    columns = list(dict.fromkeys(zip(table["table"], table["target"], strict=True)))
    by_table = table.groupby(["candidate", "table"])["lead"].mean().unstack()
    by_table = by_table.assign(worst=by_table.min(axis=1, skipna=False), mean=by_table.mean(axis=1))
    rows = []
    for name, row in by_table.sort_values(["worst", "mean"], ascending=False).iterrows():
        own = table[table["candidate"] == name].set_index(["table", "target"])
        cells = [
            f"{_number(own.at[key, 'spearman'])} ({_interval(own.loc[key], 'lead')})"
            if key in own.index
            else "–"
            for key in columns
        ]
        rows.append([str(name), *cells, _number(row["worst"]), _number(row["mean"])])
    heads = [
        f"{name} {target.removesuffix('_distilled').removesuffix('_vanilla')}"
        for name, target in columns
    ]
    return _table(["candidate", *heads, "worst lead", "mean lead"], iter(rows))


def of_left_out() -> list[str]:
    """What is chosen without a space, how it does there, and how other scores do."""
    table = pd.read_csv(STORE / "left_out.csv")
    known = pd.read_csv(STORE / "candidates.csv").set_index(["table", "target", "candidate"])
    recommended = yaml.safe_load((CONF / "proxy" / "recommended.yaml").read_text(encoding="utf-8"))
    shown = {"recommended": " + ".join(recommended["members"]), **{n: n for n in COMPARED}}

    columns = {"space": "table", "proxy": "candidate"}
    further = [pd.read_csv(STORE / f"{name}.csv") for name in ("s0", "s1", "nasbench201_live")]
    stored = pd.concat(further).rename(columns=columns).replace("nasbench201", "nasbench201_600")
    stored["target"] = stored["dataset"] + "_" + stored["target"]
    stored = stored.set_index(["table", "target", "candidate"])

    def cells(row: Any) -> Iterator[str]:
        yield from (_number(row.spearman), _number(row.lead))
        for candidate in shown.values():
            key = (row.table, row.target, candidate)
            if key in known.index:
                yield _number(known.at[key, "spearman"])
            else:
                yield f"{_number(stored.at[key, 'spearman'])}*" if key in stored.index else "–"

    rows = ([r.left_out, r.chosen, f"{r.table} {r.target}", *cells(r)] for r in table.itertuples())
    head = ["left out", "chosen on the others", "table", "ρ", "ρ − ρ(params)"]
    return _table([*head, *(f"`{name}`" for name in shown)], rows)


def of_settings() -> list[str]:
    """ρ of the readings of DisWOT's score and of the recommended one under other settings."""
    table = pd.read_csv(STORE / "settings.csv")
    lines: list[str] = []
    for (space, dataset, target), own in table.groupby(["space", "dataset", "target"], sort=False):
        settings = list(dict.fromkeys(own["setting"]))
        cells = {
            (row.proxy, row.setting): f"{_number(row.spearman)} ± {row.spearman_std:.2f}"
            for row in own.itertuples()
        }
        head = f"### {space}, {dataset}, {target}: {own['n'].max()} networks"
        lines += ["", head, ""] if lines else [head, ""]
        rows = (
            [f"`{proxy}`", *(cells.get((proxy, setting), "–") for setting in settings)]
            for proxy in dict.fromkeys(own["proxy"])
        )
        lines += _table(["proxy", *settings], rows)
    return lines


def of_float64() -> list[str]:
    """ρ between the scores in float32 and in float64, and the largest difference between them."""
    table = pd.read_csv(STORE / "float64.csv")
    spaces = list(dict.fromkeys(table["space"]))
    rows = table.set_index(["proxy", "space"])

    def cell(name: str, space: str) -> str:
        row = rows.loc[(name, space)]
        if pd.isna(row["spearman"]):
            return "all equal" if row["n"] > 1 else f"{row['n']:.0f} scored"
        apart = row["largest_difference"]
        shown = "" if pd.isna(apart) else f", {apart:.0e}" if apart else ", 0"
        mark = " ▼" if row["spearman"] < 0.99 else ""
        return f"{_number(row['spearman'], 4)}{shown}{mark}".replace("e-", "e−")

    names = table.groupby("proxy")["spearman"].min().sort_values(kind="stable").index
    body = ([f"`{name}`", *(cell(name, space) for space in spaces)] for name in names)
    return _table(["proxy", *spaces], body)


SPECIAL: dict[str, Callable[[], list[str]]] = {
    "all": all_groups,
    "distillers": of_distillers,
    "trainings": of_trainings,
    "chains": of_chains,
    "few": partial(of_others, "few"),
    "family": partial(of_others, "family"),
    "published": of_published,
    "support": of_support,
    **{f"ranking {name}": partial(of_ranking, name) for name in RANKINGS},
    **{f"targets {name}": partial(of_targets, name) for name in ("autoformer", "pit")},
    "candidates": of_candidates,
    "left out": of_left_out,
    "combinations": of_combinations,
    "settings": of_settings,
    "float64": of_float64,
}


def updated(page: str) -> str:
    """A page with its tables made anew."""

    def block(found: re.Match[str]) -> str:
        name = found[1]
        lines = SPECIAL[name]() if name in SPECIAL else of_group(name)
        return "\n".join([f"<!-- members: {name} -->", "", *lines, "", "<!-- end -->"])

    return re.sub(r"<!-- members: ([\w /]+) -->.*?<!-- end -->", block, page, flags=re.DOTALL)


def main(argv: Sequence[str]) -> int:
    """Write or check the pages."""
    stale = []
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = updated(before)
        if before != after:
            stale.append(page.relative_to(ROOT))
            if "--check" not in argv:
                page.write_text(after, encoding="utf-8")
    for page in stale:
        verb = "is not up to date: make docs" if "--check" in argv else "written"
        sys.stdout.write(f"{page} {verb}\n")
    return int(bool(stale) and "--check" in argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The Python API: what the command line can, from a program or a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from diswot.errors import UserError
from diswot.hydra_app import compose, quote
from diswot.results import Score, SearchResult, TrainResult

if TYPE_CHECKING:
    from torch import nn

    from diswot.runs import RankRow

__all__ = [
    "Score",
    "SearchResult",
    "TrainResult",
    "find_student",
    "load_student",
    "rank_proxies",
    "score_arch",
    "train_student",
]

Settings = Mapping[str, Any]
Override = str | int | float | bool | None


def score_arch(
    arch: str,
    *,
    space: str,
    teacher: str = "resnet110",
    proxy: str | Sequence[str] = "diswot",
    overrides: Iterable[str] = (),
    config_dir: str | Path | None = None,
    **settings: Override,
) -> Score:
    """Score one architecture.

    Args:
        arch: Text form, such as ``s0:1-3-5``.
        space: Name of a space.
        teacher: Name of a teacher.
        proxy: One name, or several of which the first gives the fitness.
        overrides: Further settings as on the command line, such as ``"data.batch_size=32"``.
        config_dir: A folder with further configs.
        settings: Top-level settings and groups: ``seed=1``, ``init="kaiming"``.

    Raises:
        UserError: Wrong input, or the architecture cannot be scored.
    """
    from diswot.scoring.runtime import resolve_device
    from diswot.scoring.setup import Setup

    groups = {"space": space, "teacher": teacher, "proxy": proxy}
    config = compose("search", _overrides({**groups, **settings}, overrides), config_dir)
    config["device"] = resolve_device(config["device"])
    setup = Setup.from_config(config)
    name, fitness = setup.fitness
    for key, each in setup.proxies.items():
        if each.relative:
            raise UserError(
                f"proxy.{key}: its scores are relative to other candidates, so one architecture "
                f"alone has none; take another proxy.{key}.combine"
            )
    found = setup.scorer.measure(setup.space.parse(arch))
    if found.failures or found.cost is None:
        raise UserError(
            f"{arch} could not be scored: "
            + "; ".join(f"{proxy}: {why}" for proxy, why in found.failures.items())
        )
    return Score(
        arch=found.arch,
        value=fitness.fitness([found.parts[name]])[0],
        parts=found.parts[name],
        others={key: other.fitness([found.parts[key]])[0] for key, other in setup.others},
        cost=found.cost,
    )


def find_student(
    *,
    space: str = "s1",
    teacher: str = "resnet110",
    proxy: str | Sequence[str] = "diswot",
    strategy: str = "evolution",
    budget: Mapping[str, float] | None = None,
    run_dir: str | Path | None = None,
    overrides: Iterable[str] = (),
    config_dir: str | Path | None = None,
    quiet: bool = True,
    **settings: Override,
) -> SearchResult:
    """Search for the best student of a teacher.

    Args:
        space: Name of a space.
        teacher: Name of a teacher.
        proxy: One name, or several of which the first gives the fitness.
        strategy: Name of a strategy.
        budget: Limits by name: ``params``, ``flops``, ``layers``; by default the space's.
        run_dir: Where the run is kept, and where it goes on after a stop; None keeps nothing.
        overrides: Further settings as on the command line: ``"strategy.evaluations=100"``.
        config_dir: A folder with further configs.
        quiet: Show nothing.
        settings: Top-level settings and groups: ``seed=1``, ``workers=2``, ``data="gaussian"``.

    Raises:
        UserError: Wrong input, or nothing was found.
    """
    from diswot.search import run_search

    groups = {
        "space": space,
        "teacher": teacher,
        "proxy": proxy,
        "strategy": strategy,
        **{f"budget.{name}": limit for name, limit in (budget or {}).items()},
    }
    config = compose("search", _overrides({**groups, **settings}, overrides), config_dir)
    with ExitStack() as stack:
        path = Path(run_dir or stack.enter_context(TemporaryDirectory(prefix="diswot-")))
        summary = asdict(run_search(config, path, quiet=quiet))
    return SearchResult(
        **{key: summary[key] for key in ("arch", "score", "params", "flops", "top")},
        summary=summary,
        config=config,
    )


def train_student(
    student: str = "resnet20",
    *,
    teacher: str = "resnet56",
    weights: str | Path = "embedded",
    distiller: str | Sequence[str] = "kd",
    protocol: str = "short",
    run_dir: str | Path | None = None,
    overrides: Iterable[str] = (),
    config_dir: str | Path | None = None,
    quiet: bool = True,
    **settings: Override,
) -> TrainResult:
    """Train a student, with a teacher or alone.

    Args:
        student: Name of a student; ``arch`` and ``searched`` need overrides, see Example.
        teacher: Name of a teacher, or ``none``.
        weights: Of the teacher: ``embedded``, a file, the run directory of a training, or a tag.
        distiller: One name, several, or ``none``.
        protocol: Its name.
        run_dir: Where the run is kept, and where it goes on after a stop; None keeps nothing.
        overrides: Further settings as on the command line: ``"protocol.max_epochs=30"``.
        config_dir: A folder with further configs.
        quiet: Show nothing.
        settings: Top-level settings and groups: ``seed=1``, ``data="cifar100"``.

    Raises:
        UserError: Wrong input, or training failed.

    Example::

        diswot.train_student("arch", space="s0", overrides=["student.arch=s0:1-1-3"])
    """
    from diswot.config import conf_dir
    from diswot.models.student import load_student
    from diswot.train import run_train

    taught = {} if teacher == "none" else {"teacher.weights": str(weights)}
    groups = {"student": student, "teacher": teacher, "distiller": distiller, "protocol": protocol}
    config = compose("train", _overrides({**groups, **taught, **settings}, overrides), config_dir)
    folders = [conf_dir(), *([Path(config_dir)] if config_dir else [])]
    with ExitStack() as stack:
        path = Path(run_dir or stack.enter_context(TemporaryDirectory(prefix="diswot-")))
        summary = asdict(run_train(config, path, folders, quiet=quiet))
        network = load_student(path, config_dir=config_dir)
    return TrainResult(
        network,
        **{key: summary[key] for key in ("test_top1", "params", "flops")},
        summary=summary,
        config=config,
    )


def load_student(run: str | Path, *, config_dir: str | Path | None = None) -> nn.Module:
    """Load what a training kept, see `diswot.models.saved.load_student`."""
    from diswot.models.student import load_student

    return load_student(run, config_dir=config_dir)


def rank_proxies(
    *,
    space: str = "s0",
    proxy: str | Sequence[str] = "diswot",
    teacher: str = "resnet56",
    seeds: int = 1,
    run_dir: str | Path | None = None,
    overrides: Iterable[str] = (),
    config_dir: str | Path | None = None,
    quiet: bool = True,
    **settings: Override,
) -> list[RankRow]:
    """Measure how well proxies predict the accuracies that a benchmark knows.

    Args:
        space: Name of a space that has a benchmark.
        proxy: One name, several, or ``all``.
        teacher: Name of a teacher.
        seeds: How many.
        run_dir: Where the run is kept, and where it goes on after a stop; None keeps nothing.
        overrides: Further settings as on the command line: ``"benchmark.sample=300"``.
        config_dir: A folder with further configs.
        quiet: Show nothing.
        settings: Top-level settings and groups: ``control="shuffled"``, ``workers=2``;
            ``merge=FOLDER`` unites shards, whose settings then count.

    Returns:
        The rows of rank.csv, target by target, the best proxy first; none for a shard.

    Raises:
        UserError: Wrong input.
    """
    from diswot.config import conf_dir, known_targets
    from diswot.rank import merge_shards, run_rank

    groups = {"space": space, "proxy": proxy, "teacher": teacher, "seeds": seeds}
    config = compose("rank", _overrides({**groups, **settings}, overrides), config_dir)
    if config["merge"] is not None:
        targets = known_targets([conf_dir(), *([Path(config_dir)] if config_dir else [])])
        return merge_shards(
            Path(config["merge"]), targets, resamples=config["resamples"], quiet=quiet
        )
    if config["shard"] is not None and run_dir is None:
        raise UserError(f"shard={config['shard']}: give run_dir, or what is scored is lost")
    with ExitStack() as stack:
        path = Path(run_dir or stack.enter_context(TemporaryDirectory(prefix="diswot-")))
        return run_rank(config, path, quiet=quiet)


def _overrides(settings: Settings, further: Iterable[str]) -> list[str]:
    return [*(f"{name}={_value(value)}" for name, value in settings.items()), *further]


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Sequence):
        return f"[{','.join(map(_value, value))}]"
    return str(value)

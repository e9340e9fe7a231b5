"""From a resolved config to what a search scores with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, cast

from diswot.checks import choice, whole
from diswot.config import make
from diswot.errors import UserError
from diswot.keys import stable_hash
from diswot.scoring.runtime import Runtime
from diswot.scoring.scorer import Scorer, summarize_teacher

if TYPE_CHECKING:
    from diswot.data.base import ImageData
    from diswot.proxies.base import Proxy
    from diswot.spaces.base import Space
    from diswot.strategies.base import Strategy

__all__ = [
    "CONTROLS",
    "Setup",
    "class_count",
    "make_data",
    "make_proxies",
    "make_strategy",
    "worker_count",
]

CONTROLS = ("none", "shuffled")


def worker_count(config: Mapping[str, Any]) -> int:
    """Scoring processes: ``workers``, by default the cores it may use, 1 on CUDA.

    A Slurm that does not bind its jobs to cores still says how many they asked for.

    Raises:
        UserError: Not a whole number of at least 1.
    """
    if config["workers"] is not None:
        return whole("workers", config["workers"], 1)
    if config["device"] == "cuda":
        return 1
    cores, asked = len(os.sched_getaffinity(0)), os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(cores, int(asked)) if asked.isdigit() and int(asked) else cores


@dataclass(frozen=True)
class Setup:
    """Space, data, teacher and proxies of a run; everything a score is a function of.

    Attributes:
        space: The search space.
        data: Where the mini-batch comes from.
        proxies: Bound proxies by name; the first gives the fitness.
        num_classes: Width of untrained classifiers.
        teacher: Name, or None.
        teacher_width: Channels of its embedding.
        scorer: Scores architectures.
    """

    space: Space
    data: ImageData
    proxies: Mapping[str, Proxy]
    num_classes: int
    teacher: str | None
    teacher_width: int | None
    scorer: Scorer

    @property
    def fitness(self) -> tuple[str, Proxy]:
        """Name and proxy that give the fitness."""
        return next(iter(self.proxies.items()))

    @property
    def others(self) -> list[tuple[str, Proxy]]:
        """The proxies recorded beside it."""
        return list(self.proxies.items())[1:]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Setup:
        """Build everything, run the teacher once.

        Args:
            config: Resolved; ``device`` is ``cpu`` or ``cuda``.

        Raises:
            UserError: Settings that are wrong, or that do not go together.
        """
        from diswot.models.init import Initializer
        from diswot.spaces.base import Space

        seed = whole("seed", config["seed"], 0)
        space = make(config["space"], "space", Space)  # type: ignore[type-abstract]
        init = make(config["init"], "init", Initializer)  # type: ignore[type-abstract]
        data = make_data(config)
        runtime = Runtime(config["device"], config["precision"])
        proxies = make_proxies(config)
        num_classes = class_count(config, data)
        batch = data.mini_batch(seed)
        wanted = [name for name in config["proxy"] if proxies[name].needs_teacher]
        teacher = _Teacher(config, num_classes, data.in_channels, wanted)
        bound = _bind(proxies, space, teacher, num_classes)
        _check_labels(bound, data, num_classes)
        summaries = {}
        if wanted:
            if not teacher.trained:
                init(teacher.network, seed=seed, role="teacher")
            summaries = summarize_teacher(teacher.network, bound, batch, runtime)
        scorer = Scorer(
            space=space,
            proxies=bound,
            init=init,
            batch=batch,
            num_classes=num_classes,
            seed=seed,
            runtime=runtime,
            teacher=summaries,
            debug=bool(config["debug"]),
        )
        return cls(space, data, bound, num_classes, teacher.name, teacher.width, scorer)


class _Teacher:
    """The teacher of a config, built only where a proxy compares with it."""

    def __init__(
        self, config: Mapping[str, Any], num_classes: int, in_channels: int, wanted: Sequence[str]
    ) -> None:
        from diswot.checkpoint import build_teacher
        from diswot.models.outputs import Network

        spec = config["teacher"]
        self.name: str | None = None if spec["name"] == "none" else spec["name"]
        self.trained = spec.get("weights", "none") != "none"
        self.width: int | None = None
        if not wanted:
            return
        if self.name is None:
            raise UserError(
                f"teacher=none, but {', '.join(wanted)} compares with a teacher; "
                "name one, such as teacher=resnet56"
            )
        import torch

        with torch.random.fork_rng(devices=[]):  # layers draw defaults that are replaced
            self.network = build_teacher(spec, num_classes, in_channels)
        self.width = cast(Network, self.network).classifier.in_features


def make_proxies(config: Mapping[str, Any]) -> dict[str, Proxy]:
    """The proxies by name, not yet bound, and the controls that ``control`` asks for.

    Raises:
        UserError: Settings that are wrong, or no proxy.
    """
    from diswot.proxies.base import Proxy
    from diswot.proxies.shuffled import Shuffled

    nodes = config.get("proxy") or {}
    if not nodes:
        raise UserError("proxy: at least one is needed; the first gives the fitness")
    proxies = {name: make(node, f"proxy.{name}", Proxy) for name, node in nodes.items()}  # type: ignore[type-abstract]
    if choice("control", config.get("control", "none"), CONTROLS) == "shuffled":
        aware = [proxy for proxy in proxies.values() if proxy.needs_teacher]
        proxies |= {made.name: made for made in (Shuffled(p, config["seed"]) for p in aware)}
    return proxies


def class_count(config: Mapping[str, Any], data: ImageData | None = None) -> int:
    """Width of untrained classifiers: ``num_classes``, by default the data's.

    Raises:
        UserError: Less than 2.
    """
    if config["num_classes"] is not None:
        return whole("num_classes", config["num_classes"], 2)
    return (data or make_data(config)).num_classes


def make_data(config: Mapping[str, Any]) -> ImageData:
    """Where the mini-batch comes from.

    Raises:
        UserError: Settings that are wrong, or data that are not there.
    """
    from diswot.data.base import ImageData

    return make(config["data"], "data", ImageData)  # type: ignore[type-abstract]


def _bind(
    proxies: Mapping[str, Proxy], space: Space, teacher: _Teacher, num_classes: int
) -> dict[str, Proxy]:
    from diswot.proxies.base import ProxyContext

    context = ProxyContext(
        space=space.name,
        student_width=space.embedding_width,
        teacher=teacher.name,
        teacher_width=teacher.width,
        num_classes=num_classes,
    )
    return {name: proxy.bind(context) for name, proxy in proxies.items()}


def _check_labels(proxies: Mapping[str, Proxy], data: ImageData, num_classes: int) -> None:
    labelled = [name for name, proxy in proxies.items() if proxy.needs_labels]
    if num_classes < data.num_classes and labelled:
        raise UserError(
            f"num_classes={num_classes}: {data.name} has labels of {data.num_classes} classes, "
            f"which proxy {', '.join(labelled)} reads; give at least {data.num_classes}"
        )


def make_strategy(config: Mapping[str, Any], setup: Setup) -> Strategy:
    """The strategy, started inside the budget.

    Raises:
        UserError: Settings that are wrong.
    """
    from diswot.scoring.budget import Budget
    from diswot.strategies.base import Strategy
    from diswot.strategies.proposals import Proposals

    strategy = make(config["strategy"], "strategy", Strategy)  # type: ignore[type-abstract]
    budget = make(config["budget"], "budget", Budget)
    rng = Random(stable_hash("strategy", config["seed"]))
    strategy.start(Proposals(setup.space, budget, setup.scorer.costs(), rng))
    return strategy

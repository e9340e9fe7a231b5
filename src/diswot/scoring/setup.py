"""Parts that a resolved config names: all that a score is a function of."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, cast

from torch import nn

from diswot.checks import choice, positive, whole
from diswot.config import make
from diswot.data.base import ImageData
from diswot.errors import UserError
from diswot.models.init import Initializer
from diswot.models.outputs import Cost, Network
from diswot.models.weights import classifier_path, untrained_classifier
from diswot.proxies.base import Proxy, ProxyContext
from diswot.proxies.cost import Shuffled
from diswot.scoring.runtime import Runtime
from diswot.scoring.scorer import Scorer, summarize_teacher
from diswot.spaces.base import Space
from diswot.teaching import build_teacher, teacher_cost


@dataclass(frozen=True)
class Setup:
    """Space, data, teacher and proxies of a run; everything a score is a function of.

    Proxies are bound; the first gives the fitness. ``teacher`` is a name; its network has its
    weights, and is None where no proxy compares with a teacher; ``teacher_spec`` is its node.
    """

    space: Space
    data: ImageData
    proxies: Mapping[str, Proxy]
    num_classes: int
    teacher: str | None
    teacher_spec: Mapping[str, Any]
    teacher_network: nn.Module | None
    scorer: Scorer

    @cached_property
    def teacher_cost(self) -> Cost | None:
        """What the teacher costs on an image of the data; None where there is none."""
        return teacher_cost(self.teacher_spec, self.num_classes, self.data.image_shape)

    @property
    def fitness(self) -> tuple[str, Proxy]:
        """Name and proxy that give the fitness."""
        return next(iter(self.proxies.items()))

    @property
    def others(self) -> list[tuple[str, Proxy]]:
        """The proxies recorded beside it."""
        return list(self.proxies.items())[1:]

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        *,
        data: ImageData | None = None,
        proxies: Mapping[str, Proxy] | None = None,
    ) -> Self:
        """Build everything that a resolved config names but what is given, run the teacher once.

        Settings that are wrong, or that do not go together, raise `UserError`.
        """
        seed = whole("seed", config["seed"], 0)
        space = make(config["space"], "space", Space)
        init = make(config["init"], "init", Initializer)
        data = data or make_data(config)
        runtime = Runtime(config["device"], config["precision"])
        proxies = proxies or make_proxies(config)
        num_classes = class_count(config, data)
        batch = data.mini_batch(seed)
        spec = config["teacher"]
        name = None if spec["name"] == "none" else spec["name"]
        network, width = _build_teacher(spec, proxies, num_classes, data), None
        if network is not None:
            width = cast(Network, network).classifier.in_features
            if spec.get("weights", "none") == "none":
                init(network, seed=seed, role="teacher")
            elif problem := untrained_classifier(network):
                if config["num_classes"] is not None:
                    advice = "leave num_classes out: a classifier for the data's is then drawn"
                    raise UserError(f"teacher.weights: {spec['weights']} {problem}; {advice}")
                path, classifier = classifier_path(network), cast(Network, network).classifier
                init(classifier, seed=seed, role="teacher", prefix=path)
        context = ProxyContext(space.name, space.embedding_width, name, width, num_classes)
        proxies = with_controls(proxies, config.get("control", "none"), seed)
        bound = {key: proxy.bind(context) for key, proxy in proxies.items()}
        labelled = [key for key, proxy in bound.items() if proxy.needs_labels]
        if num_classes < data.num_classes and labelled:
            raise UserError(
                f"num_classes={num_classes}: {data.name} has labels of {data.num_classes} classes, "
                f"which proxy {', '.join(labelled)} reads; give at least {data.num_classes}"
            )
        summaries = {} if network is None else summarize_teacher(network, bound, batch, runtime)
        keyed = (init, batch, num_classes, seed)
        limit = config.get("candidate_seconds")
        limit = None if limit is None else positive("candidate_seconds", limit)
        scorer = Scorer(space, bound, *keyed, runtime, summaries, bool(config["debug"]), limit)
        return cls(space, data, bound, num_classes, name, spec, network, scorer)


def _build_teacher(
    spec: Mapping[str, Any], proxies: Mapping[str, Proxy], num_classes: int, data: ImageData
) -> nn.Module | None:
    comparing = [name for name, proxy in proxies.items() if proxy.needs_teacher]
    if not comparing:
        return None  # nobody asks for its network
    if spec["name"] == "none":
        raise UserError(
            f"teacher=none, but {', '.join(comparing)} compares with a teacher; "
            "name one, such as teacher=resnet56, or score without, such as proxy=recommended"
        )
    return build_teacher(spec, data, num_classes)


def make_proxies(config: Mapping[str, Any]) -> dict[str, Proxy]:
    """The proxies by name, bound to no run; wrong settings or no proxy raise `UserError`."""
    nodes = config.get("proxy") or {}
    if not nodes:
        raise UserError("proxy: at least one is needed; the first gives the fitness")
    return {name: make(node, f"proxy.{name}", Proxy) for name, node in nodes.items()}


def with_controls(proxies: Mapping[str, Proxy], control: str, seed: int) -> dict[str, Proxy]:
    """The unbound proxies, and behind them a control of each that compares with the teacher.

    ``control`` is ``none`` or ``shuffled``, another raises `UserError`; ``seed`` keys the order of
    the teacher's samples.
    """
    if choice("control", control, ("none", "shuffled")) == "none":
        return dict(proxies)
    controls = [Shuffled(proxy, seed) for proxy in proxies.values() if proxy.needs_teacher]
    return {**proxies, **{proxy.name: proxy for proxy in controls}}


def make_data(config: Mapping[str, Any]) -> ImageData:
    """Where the mini-batch comes from; wrong settings or missing data raise `UserError`."""
    return make(config["data"], "data", ImageData)


def class_count(config: Mapping[str, Any], data: ImageData) -> int:
    """Width of untrained classifiers: ``num_classes``, at least 2, by default the data's."""
    if config["num_classes"] is None:
        return data.num_classes
    return whole("num_classes", config["num_classes"], 2)


def worker_count(config: Mapping[str, Any], *, on_gpu: int = 4) -> int:
    """Processes: ``workers``, at least 1, by default the cores it may use, on CUDA ``on_gpu``."""
    if config["workers"] is not None:
        return whole("workers", config["workers"], 1)
    # A Slurm that does not bind its jobs to cores still says how many they asked for.
    cores, asked = len(os.sched_getaffinity(0)), os.environ.get("SLURM_CPUS_PER_TASK", "")
    cores = min(cores, int(asked)) if asked.isdigit() and int(asked) else cores
    return min(cores, on_gpu) if config["device"] == "cuda" else cores

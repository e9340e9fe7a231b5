"""Scoring here against the way in which published code scores, on the same candidates.

Usage: python benchmarks/published.py [--space s0|nasbench201] [--candidates N] [--threads N]

Published code builds every network anew with torch's default initialisation, of `diswot` the
teacher too, runs each score's own passes, two of them backwards for `diswot`, and leaves torch its
default threads, one a core. On a machine that does other work these wait for each other most of the
time: there give ``--threads 1`` and compare CPU seconds. It is written here from the formulas.

Ours is the pool of a search, with one worker and with two. Networks, images and batch are the same.
On S0 all candidates are scored in the order of an exhaustive search, on NAS-Bench-201 random cells
of which every operation counts. Not counted is the start of the workers; costs that processes
remember are known before.

Before it is timed, a score of three candidates with the same weights must be the same both ways.
Then the ways take turns: each round the published one scores its share of the candidates, ours all.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diswot.accuracies.sources import is_live
from diswot.checkpoint import build_network
from diswot.commands import compose
from diswot.data import MiniBatch
from diswot.proxies.passes import weights
from diswot.scoring.pool import Worker, scoring_pool
from diswot.scoring.scorer import Scorer
from diswot.scoring.setup import Setup

PROXIES = {"s0": ["diswot"], "nasbench201": ["diswot", "nwot", "snip", "grad_norm", "synflow"]}
GRADIENTS = ["snip", "grad_norm", "synflow"]


def diswot(student: nn.Module, batch: MiniBatch, teacher: nn.Module) -> float:
    """Semantic and relation similarity, of the classifiers' gradients and of the last maps."""
    gradients, maps = [], []
    for network in (teacher, student):
        outputs = network.outputs(batch.images)
        F.cross_entropy(outputs.logits, batch.labels).backward()
        gradients.append(network.classifier.weight.grad)
        maps.append(outputs.stages[-1].detach().flatten(1))
    classes, width = gradients[0].shape
    semantic = torch.zeros(())
    for of_teacher, of_student in zip(*gradients, strict=True):
        grams = (F.normalize(torch.outer(g, g)) for g in (of_teacher, of_student))
        semantic = semantic + (next(grams) - next(grams)).square().sum() / (classes * width)
    relations = [F.normalize(flat @ flat.T) for flat in maps]
    relation = (relations[0] - relations[1]).square().sum() / len(batch.images) ** 2
    return -(semantic + relation).item()


def nwot(student: nn.Module, batch: MiniBatch) -> float:
    """Hooks on all ReLUs; two products of codes a call, added in numpy."""
    kernel = np.zeros((len(batch.images), len(batch.images)))

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal kernel
        codes = (inputs[0].flatten(1) > 0).float()
        kernel = kernel + (codes @ codes.T).numpy() + ((1 - codes) @ (1 - codes).T).numpy()

    for module in student.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(count)
    with torch.no_grad():
        student(batch.images)
    return float(np.linalg.slogdet(kernel)[1])


def snip(student: nn.Module, batch: MiniBatch) -> float:
    """Gradients of masks of ones on the weights of a copy."""
    network = deepcopy(student)
    own = {name: weight.detach() for name, weight in weights(network).items()}
    masks = {name: torch.ones_like(weight, requires_grad=True) for name, weight in own.items()}
    masked = {f"{name}.weight": own[name] * mask for name, mask in masks.items()}
    logits = torch.func.functional_call(network, masked, (batch.images,))
    F.cross_entropy(logits, batch.labels).backward()
    return sum(mask.grad.abs().sum().item() for mask in masks.values())


def grad_norm(student: nn.Module, batch: MiniBatch) -> float:
    """Norms of the gradients of the weights of a copy."""
    network = deepcopy(student)
    F.cross_entropy(network(batch.images), batch.labels).backward()
    return sum(weight.grad.norm().item() for weight in weights(network).values())


def synflow(student: nn.Module, batch: MiniBatch) -> float:
    """Weights times gradients in a copy without signs and BatchNorm, in double precision."""
    network = deepcopy(student).double()
    for tensor in network.state_dict().values():
        tensor.abs_()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.forward = nn.Identity().forward
    network(torch.ones_like(batch.images[:1]).double()).sum().backward()
    return sum((w * w.grad).abs().sum().item() for w in weights(network).values())


PUBLISHED: Mapping[str, Callable[..., float]] = {
    function.__name__: function for function in (diswot, nwot, snip, grad_norm, synflow)
}


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock and of the CPU."""

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.cpu + other.cpu)

    def each(self, count: int) -> Spent:
        """One of so many."""
        return Spent(self.wall / count, self.cpu / count)


def clock(pids: Sequence[int] = ()) -> Spent:
    """Now, of this process and others that live."""
    others = (time.clock_gettime((~pid << 3) | 2) for pid in pids)  # Linux: CPU clocks of processes
    return Spent(time.perf_counter(), time.process_time() + sum(others))


def since(start: Spent, pids: Sequence[int] = ()) -> Spent:
    """What was spent."""
    now = clock(pids)
    return Spent(now.wall - start.wall, now.cpu - start.cpu)


@dataclass(frozen=True)
class Published:
    """The published way of the score ``name``; ``setup`` has space, batch and teacher."""

    setup: Setup
    name: str
    threads: int

    def networks(self, arch: Any) -> dict[str, nn.Module]:
        """Student and, where it is compared with, teacher, as torch initialises them."""
        sizes = self.setup.num_classes, self.setup.data.in_channels
        space = self.setup.space
        built = {"student": space.build(arch, num_classes=sizes[0], in_channels=sizes[1])}
        if self.name == "diswot":
            built["teacher"] = build_network(self.setup.teacher_spec, "teacher", *sizes)
        return built

    def score(self, batch: MiniBatch, **networks: nn.Module) -> float:
        """The score of networks that were built."""
        return PUBLISHED[self.name](batch=batch, **networks)

    def run(self, archs: Sequence[Any]) -> Spent:
        """Score them one after another."""
        torch.set_num_threads(self.threads)
        start = clock()
        for arch in archs:
            self.score(self.setup.scorer.batch, **self.networks(arch))
        return since(start)

    def check(self, archs: Sequence[Any]) -> float:
        """The largest relative difference of the two ways where weights are the same."""
        torch.set_num_threads(1)  # as ours: their number changes sums
        scorer, worst = self.setup.scorer, 0.0
        memory = scorer.memory()
        for arch in archs:
            networks = {"student": scorer.network(arch)}
            if self.name == "diswot":
                networks["teacher"] = deepcopy(self.setup.teacher_network)
            theirs = self.score(scorer.batch, **networks)
            ours = sum(scorer.measure(arch, memory).parts[self.name].values())
            assert math.isclose(ours, theirs, rel_tol=1e-5), f"{self.name} {arch}: {ours} {theirs}"
            worst = max(worst, abs(ours / theirs - 1))
        return worst


def ours(scorer: Scorer, archs: Sequence[Any], workers: int) -> Spent:
    """All of them in a pool, from the first task of a process that has started.

    Where candidates share no maps, a first pass lets every process learn what it remembers.
    """
    pids, start, send = list[int](), Spent(), Worker.send

    def noted(worker: Worker, message: bytes) -> None:
        nonlocal start
        if worker.process.pid not in pids:
            pids.append(worker.process.pid)  # its first message is the scorer
        elif start == Spent():
            start = clock(pids)
        send(worker, message)

    with patch.object(Worker, "send", noted), scoring_pool(scorer, workers) as measure:
        if not scorer.prefixes(archs[0]):
            list(measure(archs))
            start = clock(pids)
        elif workers == 1:
            start = clock()
        results = list(measure(archs))
        spent = since(start, pids)
    assert all(result.parts for result in results), "a candidate has no score"
    return spent


def row(name: str, published: Spent, pools: Mapping[int, Spent]) -> str:
    """A line of the table, of seconds a candidate."""
    one, two = pools[1], pools[2]
    spent = (f"{1e3 * each.wall:.1f} / {1e3 * each.cpu:.1f}" for each in (published, one, two))
    ratios = (f"{published.wall / p.wall:.1f} / {published.cpu / p.cpu:.1f}" for p in (one, two))
    together = f"{one.wall / two.wall:.2f} / {2 * one.cpu / two.cpu:.2f}"
    return f"| {' | '.join([name, *spent, *ratios, together])} |"


def candidates(setup: Setup, count: int) -> list[Any]:
    """The first of the space or, where it is large, random ones that are live."""
    if setup.space.name == "s0":
        return list(setup.space.enumerate())[:count]
    rng, archs = Random(0), dict[Any, None]()
    while len(archs) < count:
        arch = setup.space.sample(rng)
        if is_live(str(arch)):
            archs[arch] = None
    return list(archs)


def compare(
    space: str, count: int, rounds: int, threads: int, teacher: str = "resnet110"
) -> Iterator[str]:
    """Lines of the table."""
    names = PROXIES[space]
    overrides = [f"space={space}", f"teacher={teacher}", f"proxy=[{','.join(names)}]"]
    setup = Setup.from_config({**compose("search", overrides, None), "device": "cpu"})
    archs, scorer = candidates(setup, count), setup.scorer
    groups = {name: [name] for name in names}
    if set(GRADIENTS) <= set(names):
        groups["these three at once"] = GRADIENTS
    known = dict[str, Spent]()
    for group, members in groups.items():
        proxies = {name: scorer.proxies[name] for name in members}
        alone, theirs, pools = replace(scorer, proxies=proxies), Spent(), {1: Spent(), 2: Spent()}
        way = Published(setup, group, threads)
        if group in names:
            way.check(archs[:3])
        for number in range(rounds):
            if group in names:
                theirs += way.run(archs[number::rounds])
            for workers in pools:
                pools[workers] += ours(alone, archs, workers)
        known[group] = theirs.each(len(archs))
        summed = sum((known[name] for name in members), Spent())
        yield row(group, summed, {n: pool.each(rounds * count) for n, pool in pools.items()})


def main() -> None:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--space", choices=sorted(PROXIES), default="s0")
    parser.add_argument("--candidates", type=int, help="default: 64 of S0, 32 cells")
    parser.add_argument("--rounds", type=int, default=4)
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help="of the published way")
    given = parser.parse_args()
    count = given.candidates or {"s0": 64, "nasbench201": 32}[given.space]
    used = f"{given.threads} threads for the published way, torch {torch.__version__}"
    print(f"{given.space}, {count} candidates, {used}; by the clock / by CPU seconds")
    print("| score | published, ms | 1 worker, ms | 2 workers, ms | faster with 1 | with 2", end="")
    print(f" | 2 against 1 |\n|{'---|' * 7}", flush=True)
    for line in compare(given.space, count, min(given.rounds, count), given.threads):
        print(line, flush=True)


if __name__ == "__main__":
    main()

"""Measurements of what makes scoring fast, each as a ratio of two ways within one run.

Usage: python benchmarks/scoring.py [--candidates N]

Both ways score the same candidates in turn in this process, one thread each, and give the same
bits where that is claimed; CPU seconds are compared, since machines are noisy.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from random import Random
from typing import Any

import torch

from diswot.commands import compose
from diswot.models.resnet import StagedNetwork
from diswot.proxies.functional import channel_similarity, classifier_gradient
from diswot.scoring.runtime import PrefixCache, Runtime
from diswot.scoring.scorer import Memory, Scorer
from diswot.scoring.setup import Setup
from diswot.strategies import Proposals, make_strategy


def lineage(setup: Setup, config: dict[str, Any], count: int) -> list[Any]:
    """Candidates as evolution asks them: mutations of mutations."""
    proposals = make_strategy(config, setup).proposals
    proposals = Proposals(setup.space, proposals.budget, proposals.costs, Random(0))
    archs = [proposals.sample() for _ in range(max(count // 5, 1))]
    while len(archs) < count:
        archs.append(proposals.mutate(proposals.rng.choice(archs[-20:])))
    return archs


def seconds(run: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    started = time.process_time()
    run()
    return time.process_time() - started


def prefixes(scorer: Scorer, archs: Sequence[Any]) -> None:
    """First stages that candidates share, remembered or run again."""
    memories = {
        "shared": scorer.memory(),
        "run again": Memory(scorer.costs(), PrefixCache(limit=0)),
    }
    spent = dict.fromkeys(memories, 0.0)
    for arch in archs:
        parts = []
        for name, memory in memories.items():
            started = time.process_time()
            parts.append(scorer.measure(arch, memory).parts)
            spent[name] += time.process_time() - started
        assert parts[0] == parts[1]
    ratio = spent["run again"] / spent["shared"]
    print(f"prefixes: {ratio:.2f}x faster when shared, bits equal ({len(archs)} candidates)")


@contextmanager
def _contiguous():
    place, place_batch = Runtime.place, Runtime.place_batch
    Runtime.place = lambda self, network: network.to(self.device)
    Runtime.place_batch = lambda self, batch: batch
    try:
        yield
    finally:
        Runtime.place, Runtime.place_batch = place, place_batch


def memory_format(scorer: Scorer, archs: Sequence[Any]) -> None:
    """channels_last against contiguous tensors."""
    spent = {"channels_last": 0.0, "contiguous": 0.0}
    for arch in archs:
        for name in spent:
            with _contiguous() if name == "contiguous" else nullcontext():
                spent[name] += seconds(lambda a=arch: scorer.measure(a))
    ratio = spent["contiguous"] / spent["channels_last"]
    print(f"channels_last: {ratio:.2f}x faster than contiguous ({len(archs)} candidates)")


def closed_form(scorer: Scorer, archs: Sequence[Any]) -> None:
    """The classifier's gradient in closed form against a backward pass for it."""
    batch = scorer.batch
    spent = {"closed form": 0.0, "backward": 0.0}
    for arch in archs:
        with scorer.runtime.reproducible():
            network = scorer.network(arch)
            assert isinstance(network, StagedNetwork)
            images = scorer.runtime.place_batch(batch).images

            def closed(network: StagedNetwork = network, images: Any = images) -> None:
                with torch.no_grad():
                    outputs = network.outputs(images)
                    g = classifier_gradient(outputs.logits, outputs.embedding, batch.labels)
                    channel_similarity(g, g)

            def backward(network: StagedNetwork = network, images: Any = images) -> None:
                loss = torch.nn.functional.cross_entropy(network(images), batch.labels)
                loss.backward()

            spent["closed form"] += seconds(closed)
            spent["backward"] += seconds(backward)
    ratio = spent["backward"] / spent["closed form"]
    print(f"closed form: {ratio:.2f}x faster than loss.backward() ({len(archs)} candidates)")


def shared_passes(count: int) -> None:
    """One forward and two backward passes for all gradient proxies, or passes for each."""
    names = ["snip", "grad_norm", "plain", "fisher", "jacov", "epe_nas", "nwot", "effective_rank"]
    overrides = ["space=s0", "teacher=none", f"proxy=[{','.join(names)}]"]
    scorer = Setup.from_config({**compose("search", overrides, None), "device": "cpu"}).scorer
    alone = [replace(scorer, proxies={name: scorer.proxies[name]}) for name in names]
    rng, spent = Random(0), {"shared": 0.0, "each": 0.0}
    for arch in [scorer.space.sample(rng) for _ in range(count)]:
        parts = {}
        spent["shared"] += seconds(lambda a=arch, p=parts: p.update(scorer.measure(a).parts))
        for one in alone:
            own = {}
            spent["each"] += seconds(lambda a=arch, p=own, s=one: p.update(s.measure(a).parts))
            assert own.items() <= parts.items()
    ratio = spent["each"] / spent["shared"]
    print(f"shared passes: {ratio:.2f}x faster, bits equal ({len(names)} proxies, {count} nets)")


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=60)
    count = parser.parse_args().candidates
    config = {**compose("search", ["space=s1", "teacher=resnet110"], None), "device": "cpu"}
    setup = Setup.from_config(config)
    archs = lineage(setup, config, count)
    setup.scorer.measure(archs[0])
    prefixes(setup.scorer, archs)
    memory_format(setup.scorer, archs[::4])
    closed_form(setup.scorer, archs[::4])
    shared_passes(max(count // 12, 1))


if __name__ == "__main__":
    main()

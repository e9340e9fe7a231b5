"""The contract of every member of conf/space."""

import pickle
import random
import re
from itertools import islice
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spaces_helpers import MEMBERS, draws, make_space, on_meta

from diswot.errors import UserError
from diswot.models import Network
from diswot.models.adapter import AdaptedNetwork
from diswot.models.outputs import count_params
from diswot.scoring.budget import Budget
from diswot.spaces import Arch, Space

LISTABLE = 20_000
ALPHABET = re.compile(r"[A-Za-z0-9:+|/.~_-]+")
SEEDS = st.integers(0, 2**64)
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


@pytest.fixture(scope="module", params=MEMBERS)
def space(request: pytest.FixtureRequest) -> Space:
    return make_space(request.param)


def smallest(space: Space, count: int = 1) -> list[Arch]:
    def size(arch: Arch) -> tuple[int, str]:
        return count_params(on_meta(space, arch)), str(arch)

    return sorted(set(draws(space)), key=size)[:count]


@given(seed=SEEDS, steps=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_text_reads_back(space: Space, seed: int, steps: int) -> None:
    rng = Random(seed)
    arch = space.sample(rng)
    for _ in range(steps):
        arch = space.mutate(arch, rng)
    again = space.parse(str(arch))
    assert (again, hash(again), str(again)) == (arch, hash(arch), str(arch))
    assert ALPHABET.fullmatch(str(arch))


@given(data=st.data(), seed=SEEDS, other=st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_texts_are_canonical_or_refused(
    space: Space, data: st.DataObject, seed: int, other: str
) -> None:
    text = str(space.sample(Random(seed)))
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(at, min(len(text), at + 3)))
    put = data.draw(st.text("0123456789:+|/.~_-absx \n", max_size=3))
    for attempt in (text[:at] + put + text[cut:], other):
        try:
            assert str(space.parse(attempt)) == attempt
        except UserError as error:
            assert repr(attempt) in str(error)  # noqa: PT017


def test_spaces_and_archs_can_be_sent_to_processes_and_archs_not_changed(space: Space) -> None:
    arch = space.sample(Random(0))
    assert pickle.loads(pickle.dumps(arch)) == arch
    copy = pickle.loads(pickle.dumps(space))
    assert copy.parse(str(arch)) == arch
    assert copy.size == space.size
    for name, value in getattr(arch, "__dict__", {}).items():
        with pytest.raises(AttributeError):
            setattr(arch, name, value)


def test_mutations_are_other_members(space: Space) -> None:
    rng = Random(1)
    for arch in draws(space, 20):
        others = [space.mutate(arch, rng) for _ in range(10)]
        assert len({arch, *others}) > 2
        assert arch not in others
        assert all(space.parse(str(other)) == other for other in others)


def test_draws_depend_on_the_given_generator_alone(space: Space) -> None:
    def walk(seed: int) -> list[str]:
        rng = Random(seed)
        walked = [space.sample(rng)]
        for _ in range(20):
            walked.append(space.mutate(walked[-1], rng))
        return list(map(str, walked))

    first = walk(3)
    random.seed(9)
    python, torch_state = random.getstate(), torch.get_rng_state()
    assert walk(3) == first
    assert walk(4) != first
    assert random.getstate() == python
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_enumeration_lists_each_architecture_once(space: Space) -> None:
    first = space.size.count if space.size.count <= LISTABLE else 50
    listed = list(islice(space.enumerate(), first + 1))
    assert len(set(listed)) == len(set(map(str, listed))) == len(listed)
    assert listed == list(islice(space.enumerate(), first + 1))
    assert all(space.parse(str(arch)) == arch for arch in listed)
    if space.size.count <= LISTABLE:
        assert len(listed) == space.size.count
        assert set(draws(space)) <= set(listed)


def test_samples_and_mutations_spread_over_the_space(space: Space) -> None:
    if space.size.count > 200:
        assert len(set(draws(space, 100))) > 50
        return
    assert len(set(draws(space, 20 * space.size.count))) == space.size.count
    rng, arch, seen = Random(0), space.sample(Random(0)), set()
    for _ in range(60 * space.size.count):
        arch = space.mutate(arch, rng)
        seen.add(arch)
    assert len(seen) == space.size.count


@pytest.mark.parametrize(
    ("num_classes", "in_channels", "sizes"), [(2, 1, (16, 64)), (10, 3, (32,)), (1000, 3, (16, 64))]
)
def test_networks_take_any_classes_channels_and_size(
    space: Space, num_classes: int, in_channels: int, sizes: tuple[int, ...]
) -> None:
    for arch in draws(space, 1, seed=num_classes):
        for size in sizes:
            network = on_meta(space, arch, num_classes, in_channels, size)
            assert isinstance(network, Network)
            images = torch.empty(2, in_channels, size, size, device="meta")
            outputs = network.outputs(images)
            assert outputs.logits.shape == network(images).shape == (2, num_classes)
            assert outputs.embedding.shape == (2, network.classifier.in_features)
            shapes = [stage.shape for stage in outputs.stages]
            assert shapes == [before.shape for before in outputs.preactivations]
            assert {(len(shape), shape[0]) for shape in shapes} == {(4, 2)}
            assert shapes[-1][1] == network.classifier.in_features
            sides = [shape[-1] for shape in shapes]
            assert sides == sorted(sides, reverse=True)


def test_outputs_are_those_of_the_forward_pass(space: Space) -> None:
    torch.manual_seed(0)
    for arch in smallest(space, 2):
        network = space.built_for(arch, 10, 3, 16).eval()
        images = torch.randn(2, 3, 16, 16)
        with torch.no_grad():
            outputs, logits = network.outputs(images), network(images)
        torch.testing.assert_close(outputs.logits, logits)
        torch.testing.assert_close(network.classifier(outputs.embedding), outputs.logits)
        if isinstance(network, AdaptedNetwork):  # pools and activates as its model does
            continue
        torch.testing.assert_close(outputs.embedding, outputs.stages[-1].mean((2, 3)))
        for before, after in zip(outputs.preactivations, outputs.stages, strict=True):
            assert torch.equal(before.relu(), after) or torch.equal(before, after)


def test_networks_can_be_trained(space: Space) -> None:
    """Every weight has a gradient but those that have no say in the logits."""
    for arch in smallest(space, 3):
        network, images = space.built_for(arch, 10, 3, 16), torch.randn(2, 3, 16, 16)
        logits = network(images)
        logits.logsumexp(1).sum().backward()
        assert network.classifier.weight.grad is not None
        with torch.no_grad():
            for weight in network.parameters():
                if weight.grad is None:
                    weight.add_(torch.rand_like(weight))
            assert torch.equal(network(images), logits)


def test_embedding_width_name_and_budget_are_the_truth(space: Space) -> None:
    widths = {on_meta(space, arch).classifier.in_features for arch in draws(space, 30)}
    if space.embedding_width is None:
        assert len(widths) > 1
    else:
        assert widths == {space.embedding_width}
    assert space.name in MEMBERS
    assert Budget(**space.default_budget).limits() == space.default_budget


def test_wrong_texts_are_refused_and_named(space: Space) -> None:
    text = str(space.sample(Random(0)))
    prefix, colon, rest = text.partition(":")
    wrong = {"", "x", ":", text + "x", text + " ", text + "\n", " " + text, text + text}
    wrong |= {text[: len(text) // 2], text.translate(ARABIC), text.replace("1", "-1")}
    wrong |= {re.sub(r"\d+", lambda number: "0" + number[0], text)}
    wrong |= {re.sub(r"\d+", "9" * 30, text), re.sub(r"\d+$", "9" * 5000, text)}
    wrong |= {f"other{colon}{rest}" if colon else f"other:{text}", rest if colon else "other"}
    wrong |= {f"{prefix.upper()}{colon}{rest}" if colon else text.upper() + "X"}
    for attempt in wrong - {text}:
        with pytest.raises(UserError, match=re.escape(repr(attempt))):
            space.parse(attempt)

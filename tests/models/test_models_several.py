"""Several teachers that teach as one."""

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from models_helpers import CONF, TINY
from torch import Tensor, nn

from diswot.checkpoint import build_network
from diswot.config import member_node
from diswot.errors import UserError
from diswot.fingerprints import with_sha256
from diswot.models import Network
from diswot.models.several import SeveralNetworks, confidence
from diswot.teaching import teacher_cost

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SIZES = (5, 3, 16)


def node(members: object, weights: str = "none", weighting: object = "mean") -> dict[str, Any]:
    """The teacher's node, as the command line makes it."""
    spec = member_node("teacher", "several", [CONF])
    given = {"members": members, "weights": weights, "weighting": weighting}
    return {**spec, **given, "network": {**spec["network"], **given}}


def wider(weights: str = "none") -> dict[str, Any]:
    """Another tiny network, as a whole node."""
    network = {**TINY["network"], "widths": [4, 4, 8, 12]}
    return {**TINY, "name": "wider", "weights": weights, "network": network}


@pytest.mark.parametrize("weighting", ["mean", [3, 1], "confidence"])
def test_logits_are_a_mean_and_all_else_is_of_the_first(weighting: object) -> None:
    network = build_network(node([TINY, wider()], weighting=weighting), "teacher", *SIZES).eval()
    assert isinstance(network, SeveralNetworks)
    assert isinstance(network, Network)
    first, second = network.members
    with torch.no_grad():
        outputs, logits = network.outputs(IMAGES), network(IMAGES)
        one, other, own = first(IMAGES), second(IMAGES), first.outputs(IMAGES)
    shares: dict[str, tuple[Any, Any]] = {"mean": (0.5, 0.5), "[3, 1]": (0.75, 0.25)}
    if weighting == "confidence":
        entropies = [
            torch.distributions.Categorical(logits=each).entropy() for each in (one, other)
        ]
        odds = [entropy.exp() for entropy in entropies]
        shares["confidence"] = tuple((1 - each / sum(odds))[:, None] for each in odds)
    a, b = shares[str(weighting)]
    torch.testing.assert_close(logits, a * one + b * other)
    assert torch.equal(outputs.logits, logits)
    assert torch.equal(outputs.embedding, own.embedding)
    assert all(map(torch.equal, outputs.stages, own.stages))
    assert network.classifier is first.classifier


def test_who_is_sure_counts_more_and_shares_add_up() -> None:
    sure, unsure = torch.tensor([[9.0, 0, 0]]), torch.zeros(1, 3)
    shares = confidence(torch.stack([sure, unsure, unsure]))
    torch.testing.assert_close(shares.sum(0), torch.ones(1))
    assert shares[0] > shares[1] == shares[2]
    even: Tensor = confidence(torch.stack([sure, sure, sure]))
    torch.testing.assert_close(even, torch.full((3, 1), 1 / 3))


def test_members_have_weights_of_their_own(tmp_path: Path) -> None:
    files = []
    for number, spec in enumerate((TINY, wider())):
        torch.manual_seed(number)
        files.append(tmp_path / f"{number}.pt")
        torch.save(build_network(spec, "teacher", *SIZES).state_dict(), files[-1])
    members = [{**TINY, "weights": str(files[0])}, wider(str(files[1]))]
    spec = node(members, "members")
    network = build_network(spec, "teacher", *SIZES)
    for member, file in zip(network.members, files, strict=True):
        saved = torch.load(file, weights_only=True)
        assert all(torch.equal(saved[name], value) for name, value in member.state_dict().items())
    sums = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert with_sha256(spec)["sha256_of"] == sums
    namesakes = [members[0], "resnet8", {**members[1], "name": "tiny"}]
    assert with_sha256(node(namesakes))["sha256_of"] == [sums[0], None, sums[1]]
    with pytest.raises(
        UserError, match=r"^teacher\.members: wider names no weights; give \{name: "
    ):
        build_network(node([members[0], wider()], "members"), "teacher", *SIZES)
    cost, parts = (
        teacher_cost(spec, 5, (3, 16, 16)),
        [teacher_cost(m, 5, (3, 16, 16)) for m in members],
    )
    assert cost is not None
    assert cost.params == sum(part.params for part in parts if part)
    assert cost.flops == sum(part.flops for part in parts if part)


def test_members_are_named() -> None:
    network = build_network(node(["resnet8", {"name": "resnet14"}]), "teacher", *SIZES)
    blocks = [sum(isinstance(m, nn.Conv2d) for m in member.modules()) for member in network.members]
    assert blocks[0] < blocks[1]
    named = [{"teacher": "timm", "name": "test_vit"}, "resnet8"]
    vit, _ = build_network(node(named), "teacher", 5, 3, 32).members
    assert vit.classifier.out_features == 5
    named[0] = {"teacher": "torchvision", "name": "resnet34"}
    first: Any = build_network(node(named), "teacher", *SIZES).members[0]
    assert [
        len(stage) for stage in first._model.children() if isinstance(stage, nn.Sequential)
    ] == [*(3, 4, 6, 3)]


@pytest.mark.parametrize(
    ("members", "weighting", "problem"),
    [
        (["resnet8"], "mean", r"^teacher\.members: 1 given; give at least two"),
        ("resnet8", "mean", r"^teacher\.members=resnet8: give a list"),
        (["resnet8", "resnet9"], "mean", r"there is no teacher 'resnet9'"),
        ([{"weights": "none"}, "resnet8"], "mean", r"^teacher\.members: .* has no name"),
        ([7, "resnet8"], "mean", r"^teacher\.members: 7 is neither a teacher's name nor a node$"),
        ([None, "resnet8"], "mean", r"^teacher\.members: None is neither"),
        (
            [{"name": "resnet8", "wieghts": "a.pt"}, "resnet8"],
            "mean",
            r"^teacher\.members: resnet8 has no wieghts; it has teacher, name, weights, network$",
        ),
        (
            [{"teacher": "torchvision", "name": "resnet5"}, "resnet8"],
            "mean",
            r"^teacher\.members: resnet5: network\.model: torchvision has no 'resnet5'",
        ),
        (["resnet8", "resnet8"], "best", r"^teacher\.weighting=best: give mean, confidence, or 2"),
        (["resnet8", "resnet8"], [1], r"^teacher\.weighting=\[1\].* 2 numbers"),
        (["resnet8", "resnet8"], [1, math.inf], r"^teacher\.weighting=inf .*positive"),
    ],
)
def test_what_is_refused(members: object, weighting: object, problem: str) -> None:
    spec = with_sha256(node(members, weighting=weighting))  # as a training does first
    with pytest.raises(UserError, match=problem):
        build_network(spec, "teacher", *SIZES)


def test_a_refusal_of_weights_says_whose_they_are(tmp_path: Path) -> None:
    file = tmp_path / "tiny.pt"
    torch.save(build_network(TINY, "teacher", *SIZES).state_dict(), file)
    members = [{**TINY, "weights": str(file)}, wider(str(file))]
    with pytest.raises(UserError, match=r"^teacher\.members: wider: \S+tiny\.pt does not fit"):
        build_network(node(members, "members"), "teacher", *SIZES)

"""Several teachers in a training, a search and a race."""

import hashlib
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from training_helpers import Json, composed

from diswot.checkpoint import build_network
from diswot.commands import compose
from diswot.config import conf_dir, member_node
from diswot.errors import UserError
from diswot.fingerprints import with_sha256
from diswot.models.several import SeveralNetworks
from diswot.racing.setup import _teacher
from diswot.runs import SearchSummary
from diswot.scoring.setup import Setup
from diswot.train import run_train
from diswot.training.setup import TrainingSetup


def several(weights: Path, **changes: object) -> Json:
    """The node of the small teacher and of one with other weights."""
    torch.manual_seed(9)
    small = {**composed(weights)["teacher"], "weights": str(weights)}
    other = weights.with_name("other.pt")
    torch.save(build_network({**small, "weights": "none"}, "teacher", 10, 3).state_dict(), other)
    members = [small, {**small, "name": "other", "weights": str(other)}]
    node = member_node("teacher", "several", [conf_dir()])
    given = {"members": members, "weights": "members", **changes}
    return {**node, **given, "network": {**node["network"], **given}}


@pytest.mark.parametrize("distiller", ["kd", "[kd,sp]"])
def test_a_student_learns_from_several(tmp_path: Path, weights: Path, distiller: str) -> None:
    words = f"distiller={distiller}", "protocol.max_epochs=1"
    config = {**composed(weights, *words), "teacher": several(weights)}
    setup = TrainingSetup.from_config(config)
    images = setup.batches.training.view(torch.arange(4), 0)[0]
    told = cast(Any, setup.module._teacher)(images).logits
    alone = [build_network(each, "teacher", 10, 3).eval() for each in config["teacher"]["members"]]
    with torch.no_grad():
        torch.testing.assert_close(told, sum(each(images) for each in alone) / 2)
    result = run_train(config, tmp_path / "run", [conf_dir()], quiet=True)
    assert result.teacher == "several"
    assert result.teacher_top1 is not None


def test_a_search_compares_with_several(weights: Path) -> None:
    words = ["data=gaussian", "data.image_size=8", "proxy=kd", "device=cpu", "space=s0"]
    config = {**compose("search", words, None), "device": "cpu", "teacher": several(weights)}
    setup = Setup.from_config(config)
    assert setup.teacher == "several"
    assert isinstance(setup.teacher_network, SeveralNetworks)
    measured = setup.scorer.measure(setup.space.parse("s0:1-1-1"))
    assert not measured.failures
    assert measured.parts["kd"]["kd"] < 0


def test_a_race_is_told_who_they_are(weights: Path) -> None:
    known = {"teacher": "several", "teacher_weights": "a", "teacher_input": None}
    found = cast(SearchSummary, type("Found", (), known))
    data = TrainingSetup.from_config(composed(weights)).data
    with pytest.raises(
        UserError, match=r"^run: the search had teacher several; name it with teach"
    ):
        _teacher(None, found, data, [conf_dir()])
    node = several(weights)
    given = _teacher(node, found, data, [conf_dir()])
    assert given["members"] == node["members"]
    assert with_sha256(given)["sha256_of"] == [
        hashlib.sha256(Path(each["weights"]).read_bytes()).hexdigest() for each in node["members"]
    ]

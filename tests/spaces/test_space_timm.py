"""Models of timm as candidates."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
import torch
from spaces_helpers import make_space

from diswot.commands import compose
from diswot.errors import UserError
from diswot.models.zoo import timm_family
from diswot.scoring.setup import Setup
from diswot.spaces.timm import Timm, TimmArch

TINY = ["test_vit", "test_vit2", "test_resnet"]


def timm(*models: str, **settings: object) -> Timm:
    return make_space("timm", Timm, models=list(models), **settings)


def test_patterns_choose_models() -> None:
    assert timm("test_vit", "resnet1[48]?").models == ("resnet14t", "resnet18d", "test_vit")
    assert make_space("timm", Timm, models="test_vit[23]").models == ("test_vit2", "test_vit3")
    everything = timm("*").size.count
    assert everything > 1000
    assert 500 < timm("*", pretrained_only=True).size.count < everything


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["resnet19", "*"], "space.models: timm has no 'resnet19'; nearest: .*resnet18"),
        (["resnet19*"], r"space.models=\['resnet19\*'\]: none of timm's [\d]+ models is so"),
        ([], r"space.models=\[\]"),
    ],
)
def test_patterns_of_no_model(models: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        timm(*models)


def test_texts_of_models_that_are_not_drawn_are_read() -> None:
    space = timm(*TINY)
    assert space.parse("timm:resnet18") == TimmArch("resnet18")
    for text in ("timm:resnet18.a1_in1k", "timm:", "resnet18"):
        with pytest.raises(UserError):
            space.parse(text)
    with pytest.raises(UserError, match=r"'timm:resnet19' .*; nearest: .*test_resnet"):
        space.parse("timm:resnet19")


def test_most_mutations_stay_in_the_family() -> None:
    space, rng = timm("test_vit*", "test_*net*"), Random(0)
    families = Counter(
        timm_family(space.mutate(TimmArch("test_vit"), rng).model) for _ in range(200)
    )
    assert 130 < families["timm.models.vision_transformer"] < 190
    with pytest.raises(UserError, match="a single model"):
        timm("test_vit").mutate(TimmArch("test_vit"), rng)


def test_what_does_not_fit_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    words = ["space=timm", "proxy=[params,relation]", "teacher=timm", "teacher.name=test_vit"]
    images = ["data=gaussian", "data.batch_size=4", "data.image_size=32"]
    setup = Setup.from_config({**compose("search", [*words, *images], None), "device": "cpu"})
    for model in ("test_vit2", "test_efficientnet"):
        measured = setup.scorer.measure(TimmArch(model))
        assert measured.failures == {}
        with torch.random.fork_rng():
            torch.manual_seed(7)
            assert setup.scorer.measure(TimmArch(model)).parts == measured.parts
    small = setup.scorer.measure(TimmArch("inception_v3"))
    assert small.parts.keys() == set()
    assert "does not run on images of 32×32" in small.failures["relation"]
    two_heads = setup.scorer.measure(TimmArch("levit_128s"))
    assert "it has two heads" in two_heads.failures["relation"]

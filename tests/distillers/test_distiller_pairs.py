"""Every member serves pairs of networks of different families, or refuses them in one line."""

import copy
import re
from collections.abc import Callable
from functools import cache

import pytest
import torch
from distiller_helpers import CLASSES, MEMBERS, built, network
from torch import Tensor, nn

from diswot import _torchvision
from diswot.distillers import Distiller, Step
from diswot.errors import UnfitError, UserError
from diswot.models.adapter import adapted
from diswot.models.outputs import Network, NetworkOutputs

_torchvision.ensure()

from timm.models.mlp_mixer import MlpMixer  # noqa: E402  (imports torchvision)
from timm.models.swin_transformer import SwinTransformer  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402

SIZE = 32
SMALL: dict[str, object] = {"num_classes": CLASSES, "img_size": SIZE}

FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "cnn": lambda: network(0, [1, 1, 1], [8, 8, 12, 16], CLASSES),
    "cnn of four stages": lambda: network(1, [1] * 4, [8, 8, 12, 16, 24], CLASSES),
    "vit": lambda: VisionTransformer(**SMALL, patch_size=8, embed_dim=24, depth=4, num_heads=2),
    "swin": lambda: SwinTransformer(
        **SMALL, patch_size=2, window_size=4, embed_dim=12, depths=(1, 1), num_heads=(2, 2)
    ),
    "mlp": lambda: MlpMixer(**SMALL, patch_size=8, embed_dim=20, num_blocks=2),
}
PAIRS = [
    ("cnn of four stages", "vit"),
    ("vit", "cnn"),
    ("swin", "mlp"),
    ("mlp", "cnn of four stages"),
    ("vit", "mlp"),
]

IMAGES = torch.randn(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
STEP_LABELS = torch.arange(6) % CLASSES


@cache
def made(family: str) -> nn.Module:
    """A network of a family, whose classifier has left the zeros it may start with."""
    torch.manual_seed(5)
    model = FAMILIES[family]()
    shown = model if isinstance(model, Network) else adapted(model.eval(), IMAGES[:2])
    nn.init.normal_(shown.classifier.weight, std=0.5)
    return shown


def taught(name: str, teacher: nn.Module, student: nn.Module) -> tuple[Distiller, Tensor]:
    """A distiller that was connected by two images, and its loss of a batch."""
    with torch.no_grad():
        constants = teacher.eval().outputs(IMAGES)
        probe = [each.eval().outputs(IMAGES[:2]) for each in (teacher, student)]
    distiller = built(name)
    torch.manual_seed(7)
    distiller.connect(*probe)
    head = copy.deepcopy(student.classifier)  # students are shared between tests
    distiller.attach(teacher.classifier, head, STEP_LABELS)
    weights = teacher.classifier.weight.detach(), student.classifier.weight
    step = Step(STEP_LABELS, 0, *weights, indices=torch.arange(6))
    seen = student.train().outputs(IMAGES)
    student.zero_grad()
    unweighted = 0 * head(seen.embedding).sum()  # reaches what merges into the classifier
    return distiller, distiller(constants, seen, step) + unweighted


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("pair", PAIRS, ids=" to ".join)
def test_it_teaches_a_student_of_another_family(name: str, pair: tuple[str, str]) -> None:
    teacher, student = map(made, pair)
    try:
        distiller, loss = taught(name, teacher, student)
    except UnfitError as error:
        if not re.match(rf"distiller\.{name} (needs|reads|puts) .*\Z", str(error)):
            raise
        return
    assert loss.isfinite()
    loss.backward()
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    first = next(iter(student.parameters())).grad
    assert first is not None
    assert first.abs().max() > 0
    assert all(p.grad is not None for p in distiller.parameters())


@pytest.mark.parametrize("name", [name for name in MEMBERS if built(name).logits_only])
def test_a_classifier_that_starts_at_zero_is_not_thrown_away(name: str) -> None:
    """Models of timm may start so, and constant predictions correlate with nothing."""
    teacher, student = made("cnn"), FAMILIES["cnn"]()
    nn.init.zeros_(student.classifier.weight)
    nn.init.zeros_(student.classifier.bias)
    taught(name, teacher, student)[1].backward()
    assert student.classifier.weight.grad.isfinite().all()
    assert student.classifier.weight.grad.abs().max() < 100


def test_a_hint_reaches_the_negative_values_of_a_map() -> None:
    """A ReLU at the regressor's end is left out where the teacher's map has none."""
    for teacher, relu in (("vit", False), ("cnn of four stages", True)):
        distiller, _ = taught("fitnet", made(teacher), made("cnn"))
        assert (type(distiller.regressor.activation) is nn.ReLU) == relu


def test_attention_has_no_signs() -> None:
    with torch.no_grad():
        vit, cnn = (made(family).eval().outputs(IMAGES[:2]) for family in ("vit", "cnn"))
    built("at", power=1).connect(cnn, cnn)
    built("at", power=4).connect(vit, cnn)
    for pair in ((vit, cnn), (cnn, vit)):
        with pytest.raises(UserError, match=r"^distiller\.at\.power=1: .*negative values"):
            built("at", power=1).connect(*pair)


def test_class_maps_need_maps_as_wide_as_the_classifier() -> None:
    """As where stages were named that do not end before it."""
    with torch.no_grad():
        outputs: NetworkOutputs = made("cnn").outputs(IMAGES[:2])
        other = made("vit").outputs(IMAGES[:2])
    shorter = NetworkOutputs(
        outputs.stages[:2], outputs.preactivations[:2], outputs.embedding, outputs.logits
    )
    built("diswot").connect(other, outputs)
    with pytest.raises(UnfitError, match=r"^distiller\.diswot needs last maps as wide as the emb"):
        built("diswot").connect(other, shorter)

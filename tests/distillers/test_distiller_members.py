"""Single distillers beside the contract: stages, connectors, schedules, refusals."""

from dataclasses import replace
from math import inf, log

import pytest
import torch
from distiller_helpers import CLASSES, built, pair
from torch import nn

from diswot.distillers import functional
from diswot.distillers.maps import MeanNetwork, Projection
from diswot.errors import UserError
from diswot.proxies.functional import cam_matrix, cam_similarity, channel_similarity


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("kd", {"temperature": 0, "standardize": "yes"}),
        ("dkd", {"temperature": -1, "alpha": -1, "beta": inf, "warmup": 1.5}),
        ("dist", {"beta": -1, "gamma": "x", "temperature": 0}),
        ("wsld", {"temperature": 0}),
        ("ofa", {"eps": 0, "temperature": 0}),
        ("byot", {"alpha": 2, "hint_weight": -1, "temperature": 0}),
        ("sd_dropout", {"dropout": 1, "temperature": 0}),
        ("mlkd", {"temperatures": 4}),
        ("fitnet", {"stage": 0, "connector": "never"}),
        ("at", {"power": 0}),
        ("cc", {"width": 0}),
        ("rkd", {"distance_weight": -1, "angle_weight": -1}),
        ("pkt", {"eps": 0}),
        ("vid", {"variance": 0}),
        ("ickd", {"connector": "never"}),
        ("ab", {"margin": -1, "connector": "never"}),
        ("ofd", {"connector": "never"}),
        ("fsp", {"connector": "never"}),
        ("reviewkd", {"warmup": -1}),
        ("ft", {"rate": 0, "reconstruction": -1}),
        ("crd", {"width": 0, "negatives": 0, "temperature": 0, "momentum": 2}),
        ("norm", {"copies": 0}),
        ("diswot", {"form": "both", "floor": -1, "semantic_weight": -1, "relation_weight": -1}),
    ],
)
def test_wrong_settings_are_named(name: str, wrong: dict[str, object]) -> None:
    for setting, value in wrong.items():
        with pytest.raises(UserError, match=rf"^distiller\.{name}\.{setting}={value}"):
            built(name, **{setting: value})


@pytest.mark.parametrize("name", ["kd", "dkd", "dist", "diswot", "simkd"])
def test_other_classes_are_refused(name: str) -> None:
    teacher, _ = pair("depth").outputs()
    _, student = pair("depth", classes=CLASSES + 1).outputs()
    with pytest.raises(UserError, match=rf"^distiller\.{name} needs .*\(6, 5\).*\(6, 6\)$"):
        built(name).connect(teacher, student)


@pytest.mark.parametrize(("name", "role"), [("norm", 1), ("simkd", 0), ("simkd", 1)])
def test_classifiers_that_read_something_else_are_refused(name: str, role: int) -> None:
    outputs = list(pair("depth").outputs())
    outputs[role] = replace(outputs[role], embedding=outputs[role].embedding + 0.1)
    problem = rf"^distiller\.{name} .* the {('teacher', 'student')[role]}'s classifier does not"
    with pytest.raises(UserError, match=problem):
        built(name).connect(*outputs)


def test_stages_are_aligned_from_the_last() -> None:
    networks = pair("stages")
    teacher, student = networks.outputs()
    aligned = list(zip(teacher.stages[1:], student.stages, strict=True))
    sums = {
        "at": torch.stack([functional.at(t, s) for t, s in aligned]).sum(),
        "nst": torch.stack([functional.nst(t, s) for t, s in aligned]).sum(),
        "sp": functional.sp(*aligned[-1]),
    }
    for name, expected in sums.items():
        loss = networks.connected(name)(teacher, student, networks.step())
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_hint_is_taken_at_a_stage() -> None:
    for stage, width in ((None, (12, 16)), (1, (12, 8)), (3, (20, 16))):
        regressor = pair("width").connected("fitnet", stage=stage).regressor
        assert (regressor.conv.in_channels, regressor.conv.out_channels) == width
    with pytest.raises(UserError, match=r"^distiller\.fitnet\.stage=4: .*share 3.*give 1 to"):
        pair("stages").connected("fitnet", stage=4)


@pytest.mark.parametrize(("name", "part"), [("fitnet", "regressor"), ("ickd", "embed")])
def test_a_projection_is_there_only_where_needed(name: str, part: str) -> None:
    modules = {
        (kind, connector): getattr(pair(kind).connected(name, connector=connector), part)
        for kind in ("depth", "width")
        for connector in ("always", "auto")
    }
    assert isinstance(modules.pop(("depth", "auto")), nn.Identity)
    assert all(isinstance(module, Projection) for module in modules.values())
    relu = {type(module.activation) is nn.ReLU for module in modules.values()}
    assert relu == {name == "fitnet"}


def test_variances_start_where_they_are_told_and_are_learned() -> None:
    networks = pair("width")
    distiller = networks.connected("vid", variance=2.0)
    for mean, width in zip(distiller.means, (8, 16, 16), strict=True):
        assert isinstance(mean, MeanNetwork)
        variance = nn.functional.softplus(mean.log_scale) + 1e-5
        assert variance.tolist() == pytest.approx([2.0] * width, rel=1e-5)
        assert all(p.requires_grad for p in mean.parameters())
    far = networks.loss(networks.connected("vid", variance=100.0)).item()
    assert far == pytest.approx(3 * log(100) / 2, rel=0.05)


def test_the_warm_up_of_dkd_is_that_of_mdistiller() -> None:
    networks = pair("depth")
    distiller = networks.connected("dkd")
    full = networks.loss(distiller, epoch=500).item()
    for epoch, part in ((0, 1 / 20), (9, 0.5), (19, 1), (20, 1)):
        assert networks.loss(distiller, epoch=epoch).item() == pytest.approx(part * full)
    assert networks.loss(networks.connected("dkd", warmup=0)).item() == pytest.approx(full)


def test_cc_compares_embeddings_of_one_width() -> None:
    networks = pair("width")
    distiller, (teacher, student) = networks.connected("cc", width=3), networks.outputs()
    assert [tuple(p.shape) for p in distiller.parameters()] == [(3, 20), (3,), (3, 16), (3,)]
    embedded = distiller.embed_teacher(teacher.embedding)
    error = (distiller.embed_student(student.embedding) - embedded).abs()
    expected = (error[1:] * error[:-1]).sum() / 5
    assert networks.loss(distiller).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("distance", ["cosine", "smooth_l1", "mse"])
def test_the_embedding_is_compared_after_its_projector(distance: str) -> None:
    networks = pair("width")
    distiller = networks.connected("embedding", distance=distance)
    teacher, student = (each.embedding.double() for each in networks.outputs())
    layer = distiller.projector
    projected = student @ layer.weight.double().T + layer.bias.double()
    apart = (projected - teacher).abs()
    cosine = (projected * teacher).sum(1) / (projected.norm(dim=1) * teacher.norm(dim=1))
    expected = {
        "cosine": (1 - cosine).mean(),
        "mse": apart.square().mean(),
        "smooth_l1": torch.where(apart < 1, apart.square() / 2, apart - 0.5).mean(),
    }
    assert networks.loss(distiller).item() == pytest.approx(expected[distance].item(), rel=1e-4)


def test_the_projector_of_the_embedding_may_have_a_hidden_layer() -> None:
    networks = pair("width")  # student's embedding 20 wide, the teacher's 16
    shapes = {
        hidden: [tuple(p.shape) for p in distiller.parameters()]
        for hidden in (None, 7)
        for distiller in [networks.connected("embedding", projector="mlp", hidden=hidden)]
    }
    assert shapes[None] == [(16, 20), (16,), (16,), (16,), (16, 16), (16,)]
    assert shapes[7] == [(7, 20), (7,), (7,), (7,), (16, 7), (16,)]
    for wrong, problem in (({"projector": "conv"}, "linear, mlp"), ({"hidden": 0}, "at least 1")):
        with pytest.raises(UserError, match=problem):
            built("embedding", **wrong)


def test_the_paraphraser_learns_to_reconstruct_and_nothing_else() -> None:
    networks = pair("width")
    (teacher, student), slopes = networks.outputs(), []
    for share in (1.0, 2.0):
        distiller = networks.connected("ft", reconstruction=share)
        loss = distiller(teacher, student, networks.step())
        slopes.append(torch.autograd.grad(loss, [*distiller.parameters(), *student.stages[-1:]]))
    for (key, _), once, twice in zip(distiller.named_parameters(), *slopes, strict=False):
        factor = 1 if key.startswith("translator") else 2
        torch.testing.assert_close(twice, factor * once)
    torch.testing.assert_close(slopes[0][-1], slopes[1][-1])


def test_diswot_takes_the_form_the_widths_allow() -> None:
    for kind, form in (("depth", "channel"), ("width", "cam")):
        assert built("diswot").needs_labels
        distiller = pair(kind).connected("diswot")
        assert distiller.form == form
        assert distiller.needs_labels == (form == "channel")
    assert not built("diswot", form="cam").needs_labels
    with pytest.raises(UserError, match=r"^distiller\.diswot needs .*form=channel.*16\).*20\)$"):
        pair("width").connected("diswot", form="channel")


def test_diswot_is_its_proxies_turned_round() -> None:
    networks = pair("depth")
    (teacher, student), step = networks.outputs(), networks.step()
    relation, gradients = functional.sp(teacher.stages[-1], student.stages[-1]), []
    for network, images in ((networks.teacher, networks.images), (networks.student, networks.seen)):
        loss = nn.functional.cross_entropy(network(images), networks.labels)
        gradients.append(torch.autograd.grad(loss, network.fc.weight)[0])
    weights = step.teacher_weight, step.student_weight
    maps = teacher.stages[-1], student.stages[-1]
    cam = cam_similarity(*map(cam_matrix, maps, weights))
    for form, semantic in (("channel", channel_similarity(*gradients)), ("cam", cam)):
        distiller = networks.connected("diswot", form=form, semantic_weight=2, relation_weight=3)
        expected = 3 * relation - 2 * semantic
        loss = distiller(teacher, student, step)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
        networks.student.zero_grad()
        networks.loss(networks.connected("diswot", form=form, relation_weight=0)).backward()
        assert networks.student.fc.weight.grad.abs().max() > 0  # it teaches the classifier too


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_students_and_dead_channels_keep_gradients_bounded(dtype: torch.dtype) -> None:
    """Where every image is right the class gradient is at its floor, or exactly zero."""
    networks = pair("depth")
    distiller = networks.connected("diswot", form="channel", relation_weight=0)
    (teacher, student), step = networks.outputs(), networks.step()
    right = nn.functional.one_hot(networks.labels, CLASSES).to(dtype)
    logits, embedding = teacher.logits.to(dtype), teacher.embedding.to(dtype)
    teacher = replace(teacher, logits=logits, embedding=embedding)
    for certainty in (5.0, 15.0, 30.0, 90.0, 1000.0):
        logits = (certainty * right).requires_grad_()
        embedding = student.embedding.detach().to(dtype)
        embedding[:, 0] = 0
        embedding.requires_grad_()
        loss = distiller(teacher, replace(student, logits=logits, embedding=embedding), step)
        by_logits, by_embedding = torch.autograd.grad(loss, (logits, embedding))
        assert loss.isfinite()
        assert by_logits.abs().max() < 10
        assert by_embedding[:, 0].isfinite().all()
        assert by_embedding[:, 1:].abs().max() < 10

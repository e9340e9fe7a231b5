"""Distillation losses as proxies: the outputs they compare, and the settings they refuse."""

from functools import partial
from typing import Any

import pytest
import torch
from proxy_helpers import made, members, node_of
from torch import nn

from diswot.data import MiniBatch
from diswot.distillers import functional
from diswot.distillers.functional import fitnet, kd
from diswot.errors import UserError
from diswot.models.outputs import Cost, NetworkOutputs
from diswot.proxies import Proxy
from diswot.proxies.base import ProxyInput
from diswot.proxies.distillation import Distillation

BATCH = MiniBatch(torch.zeros(4, 3, 8, 8), torch.arange(4))
COMPARED: dict[str, Any] = {
    "logits": lambda outputs: (outputs.logits,),
    "embedding": lambda outputs: (outputs.embedding,),
    "map": lambda outputs: (outputs.stages[-1],),
    "maps": lambda outputs: outputs.stages,
}
each_member = pytest.mark.parametrize(
    "name", [name for name in members("proxy") if isinstance(made(name), Distillation)]
)


def outputs(seed: int) -> NetworkOutputs:
    draw = torch.Generator().manual_seed(seed)
    maps = tuple(torch.rand((4, 6, side, side), generator=draw) for side in (8, 4, 2))
    return NetworkOutputs(maps, maps, maps[-1].mean((2, 3)), torch.randn((4, 10), generator=draw))


def score(proxy: Proxy, teacher: NetworkOutputs, student: NetworkOutputs) -> float:
    network = nn.Identity()
    summary = proxy.summarize(teacher, BATCH, network)
    kept = {name: tensor.clone() for name, tensor in summary.items()}
    inputs = ProxyInput("x", 0, Cost(1, 1, 1), BATCH, network, student, teacher=kept)
    [(part, value)] = proxy.measure(inputs).items()
    assert part == proxy.name
    return value


@each_member
def test_the_score_is_minus_the_loss_of_what_the_yaml_says(name: str) -> None:
    proxy, node, teacher, student = made(name), node_of(name), outputs(0), outputs(1)
    target, chosen = node["loss"].pop("_target_"), node["loss"]
    assert chosen.pop("_partial_")
    loss = partial(getattr(functional, target.rpartition(".")[2]), **chosen)
    compare = COMPARED[node["output"]]
    pairs = zip(compare(teacher), compare(student), strict=True)
    expected = -sum(loss(t.double(), s.double()).item() for t, s in pairs)
    assert score(proxy, teacher, student).hex() == expected.hex()
    assert score(proxy, teacher, student) < 0
    assert score(proxy, teacher, teacher) == pytest.approx(0, abs=1e-12)
    assert proxy.settings() == {"loss": loss.func.__name__, **chosen, "output": node["output"]}
    kept = proxy.summarize(teacher, BATCH, nn.Identity()).values()
    assert all(one is other for one, other in zip(kept, compare(teacher), strict=True))


def test_losses_and_settings_that_cannot_be_computed_are_refused() -> None:
    for name, override, message in (
        ("kd", "loss.temperature=0", r"proxy\.kd\.loss .*temperature=0.*positive"),
        ("at", "output=embedding", r"proxy\.at\.loss cannot .* with output=embedding.*maps"),
        ("pkt", "loss.eps=nan", r"proxy\.pkt\.loss: its settings make it nan"),
    ):
        with pytest.raises(UserError, match=message):
            made(name, override)
    state = torch.get_rng_state()
    for loss, problem in ((partial(kd, heat=3), "heat"), (torch.sub, "output=logits")):
        with pytest.raises(UserError, match=rf"proxy\.x\.loss .*{problem}"):
            Distillation(name="x", loss=loss, output="logits")
    Distillation(name="x", loss=fitnet, output="maps")
    assert torch.equal(torch.get_rng_state(), state)

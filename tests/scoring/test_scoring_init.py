"""Keyed initialisation, keys, and building without spending random numbers."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from random import Random

import pytest
import torch
from torch import nn

from diswot.commands import compose
from diswot.config import conf_dir, make
from diswot.errors import UserError
from diswot.keys import generator, stable_hash
from diswot.models.init import Initializer, materialize
from diswot.spaces import Space

MEMBERS = sorted(path.stem for path in (conf_dir() / "init").glob("*.yaml"))


@pytest.fixture(scope="module", params=MEMBERS)
def init(request: pytest.FixtureRequest) -> Initializer:
    node = compose("search", [f"init={request.param}"], None)["init"]
    return make(node, "init", Initializer)


def states(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def initialised(
    init: Initializer, network: nn.Module, *, seed: int = 0, role: str = "student"
) -> dict[str, torch.Tensor]:
    init(network, seed=seed, role=role)
    return states(network)


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 5), nn.LayerNorm(5)
    )


def test_equal_names_and_shapes_get_equal_weights(init: Initializer, space: Space) -> None:
    rng = Random(0)
    first = space.sample(rng)
    other = space.mutate(first, rng)
    one, two = (
        initialised(init, materialize(lambda arch=arch: space.build(arch, num_classes=10)))
        for arch in (first, other)
    )
    shared = [name for name in one if name in two and one[name].shape == two[name].shape]
    assert any(one[name].ndim > 1 for name in shared)
    assert all(torch.equal(one[name], two[name]) for name in shared)


def test_equal_shapes_of_other_names_get_other_weights(init: Initializer) -> None:
    network = nn.ModuleDict({name: nn.Linear(6, 6) for name in ("a", "b")})
    drawn = initialised(init, network)
    assert not torch.equal(drawn["a.weight"], drawn["b.weight"])


def test_seed_and_role_change_the_weights(init: Initializer) -> None:
    first = initialised(init, small())
    assert all(torch.equal(first[k], v) for k, v in initialised(init, small()).items())
    for change in ({"seed": 1}, {"role": "teacher"}):
        other = initialised(init, small(), **change)
        assert not torch.equal(first["0.weight"], other["0.weight"])
        assert not torch.equal(first["3.weight"], other["3.weight"])


def test_weights_do_not_depend_on_what_was_drawn_before(init: Initializer) -> None:
    layers = {"a": nn.Linear(4, 5), "b": nn.Conv2d(4, 5, 3)}
    forth = initialised(init, nn.ModuleDict(layers))
    initialised(init, small(), seed=7)
    back = initialised(init, nn.ModuleDict(dict(reversed(layers.items()))))
    assert all(torch.equal(forth[name], back[name]) for name in forth)


def test_global_random_state_is_untouched_and_unread(init: Initializer) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    network = small()
    torch.set_rng_state(before)
    first = initialised(init, network)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(initialised(init, network)["0.weight"], first["0.weight"])


def test_norms_are_the_identity_and_biases_zero(init: Initializer) -> None:
    network = nn.Sequential(*small(), nn.GroupNorm(1, 5))
    for tensor in network.state_dict().values():
        tensor.fill_(7)
    drawn = initialised(init, network)
    for name in ("1", "4", "5"):
        assert (drawn[f"{name}.weight"] == 1).all()
        assert not drawn[f"{name}.bias"].any()
    assert not drawn["0.bias"].any()
    assert not drawn["3.bias"].any()
    assert not drawn["1.running_mean"].any()
    assert (drawn["1.running_var"] == 1).all()
    assert drawn["1.num_batches_tracked"] == 0


def test_every_value_is_set(init: Initializer, space: Space) -> None:
    arch = space.sample(Random(1))
    network = materialize(lambda: space.build(arch, num_classes=10))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(math.nan)
    drawn = initialised(init, network)
    assert all(tensor.isfinite().all() for tensor in drawn.values())
    assert {tensor.device.type for tensor in drawn.values()} == {"cpu"}


def test_values_do_not_depend_on_the_memory_format(init: Initializer) -> None:
    plain = initialised(init, nn.Conv2d(4, 6, 3))
    last = initialised(init, nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last))
    assert torch.equal(plain["weight"], last["weight"])


@pytest.mark.parametrize(
    ("build", "fan_in"),
    [
        (lambda: nn.Conv2d(32, 128, 5), 32 * 25),
        (lambda: nn.Conv2d(64, 128, 5, groups=4), 16 * 25),
        (lambda: nn.Linear(500, 200), 500),
    ],
)
def test_spread_of_the_weights(build: Callable[[], nn.Module], fan_in: int) -> None:
    wanted = {"kaiming": math.sqrt(2 / fan_in), "gaussian": 1.0}
    for name, std in wanted.items():
        made = make(compose("search", [f"init={name}"], None)["init"], "init", Initializer)
        weight = initialised(made, build())["weight"].double()
        assert weight.std() == pytest.approx(std, rel=0.02)
        assert abs(weight.mean()) < 4 * std / math.sqrt(weight.numel())


@pytest.mark.parametrize("value", ["0", "-1", "wide", ".nan", ".inf"])
@pytest.mark.parametrize(("member", "setting"), [("gaussian", "std"), ("kaiming", "gain")])
def test_bad_spreads_are_refused(member: str, setting: str, value: str) -> None:
    node = compose("search", [f"init={member}", f"init.{setting}={value}"], None)["init"]
    with pytest.raises(UserError, match=rf"init\.{setting}=.* give a positive number"):
        make(node, "init", Initializer)


class _Positions(nn.Module):
    """A buffer that only the constructor knows how to fill."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("positions", torch.arange(4.0), persistent=False)


@pytest.mark.parametrize("build", [small, lambda: nn.Sequential(_Positions(), nn.Linear(2, 2))])
def test_materialize_leaves_the_random_state_alone(build: Callable[[], nn.Module]) -> None:
    before = torch.get_rng_state()
    network = materialize(build)
    assert torch.equal(torch.get_rng_state(), before)
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"cpu"}


def test_materialize_keeps_buffers_of_other_modules() -> None:
    network = materialize(lambda: nn.Sequential(nn.BatchNorm2d(2), _Positions()))
    assert network[1].positions.tolist() == [0, 1, 2, 3]


def test_hashes_are_pinned() -> None:
    assert stable_hash("a", 1, [2.5, None]) == 0x97B734CDFC441EF9
    assert stable_hash("student", "conv1.weight", bits=32) < 2**32
    assert stable_hash("ab", "c") != stable_hash("a", "bc")
    assert stable_hash({"x": 1, "y": 2}) == stable_hash({"y": 2, "x": 1})
    assert stable_hash(0) != stable_hash("0")


def test_hashes_are_the_same_in_every_process() -> None:
    code = "from diswot.keys import *; print(stable_hash('a', {'y': 1, 'x': [1]}), end=' ');"
    code += "import torch; print(torch.rand(1, generator=generator('a', 3)).item().hex())"
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1",)
    }
    here = torch.rand(1, generator=generator("a", 3)).item().hex()
    assert told == {f"{stable_hash('a', {'y': 1, 'x': [1]})} {here}"}


def test_the_key_of_a_weight_is_pinned() -> None:
    """A change of it changes every published score."""
    node = compose("search", ["init=gaussian"], None)["init"]
    drawn = initialised(make(node, "init", Initializer), nn.Linear(2, 2))
    key = generator(0, "student", "weight", [2, 2])
    assert torch.equal(drawn["weight"], torch.empty(2, 2).normal_(generator=key))

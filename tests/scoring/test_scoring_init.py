"""Keyed initialisation, keys, and building without spending random numbers."""

import math
import os
import subprocess
import sys
from random import Random

import pytest
import torch
from scoring_helpers import each_space, made, members, space_of
from torch import nn

from diswot.errors import UserError
from diswot.keys import generator, stable_hash
from diswot.models.init import Initializer


@pytest.fixture(scope="module", params=members("init"))
def init(request: pytest.FixtureRequest) -> Initializer:
    return made("init", Initializer, f"init={request.param}")


def drawn(
    init: Initializer, network: nn.Module, *, seed: int = 0, role: str = "student"
) -> dict[str, torch.Tensor]:
    init(network, seed=seed, role=role)
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 5), nn.LayerNorm(5)
    )


@each_space
def test_equal_names_and_shapes_get_equal_weights_and_every_value_is_set(
    init: Initializer, name: str
) -> None:
    space, rng = space_of(name), Random(0)
    first = space.sample(rng)
    states = []
    for arch in (first, space.mutate(first, rng)):
        network = space.build(arch, num_classes=10)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(math.nan)
        states.append(drawn(init, network))
    one, two = states
    assert all(tensor.isfinite().all() for tensor in one.values())
    assert {tensor.device.type for tensor in one.values()} == {"cpu"}
    shared = [key for key in one if key in two and one[key].shape == two[key].shape]
    assert any(one[key].ndim > 1 for key in shared)
    assert all(torch.equal(one[key], two[key]) for key in shared)


def test_name_seed_and_role_change_the_weights_and_nothing_drawn_before(init: Initializer) -> None:
    layers = {name: nn.Linear(6, 6) for name in ("a", "b")}
    forth = drawn(init, nn.ModuleDict(layers))
    assert not torch.equal(forth["a.weight"], forth["b.weight"])
    for change in ({"seed": 1}, {"role": "teacher"}):
        other = drawn(init, nn.ModuleDict(layers), **change)
        assert not any(torch.equal(forth[f"{key}.weight"], other[f"{key}.weight"]) for key in "ab")
    back = drawn(init, nn.ModuleDict(dict(reversed(layers.items()))))
    assert all(torch.equal(forth[name], back[name]) for name in forth)


def test_global_random_state_is_untouched_and_unread(init: Initializer) -> None:
    network = small()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = drawn(init, network)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(drawn(init, network)["0.weight"], first["0.weight"])


def test_norms_are_the_identity_and_biases_zero(init: Initializer) -> None:
    network = nn.Sequential(*small(), nn.GroupNorm(1, 5))
    for tensor in network.state_dict().values():
        tensor.fill_(7)
    state = drawn(init, network)
    for name in ("1.weight", "4.weight", "5.weight", "1.running_var"):
        assert (state.pop(name) == 1).all()
    zeros = [key for key in state if not key.endswith("weight")]
    assert len(zeros) == 7
    assert not any(state[key].any() for key in zeros)


def test_values_do_not_depend_on_the_memory_format(init: Initializer) -> None:
    layers = nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
    plain, last = (drawn(init, layer)["weight"] for layer in layers)
    assert torch.equal(plain, last)


def test_spread_of_the_weights() -> None:
    grouped = nn.Conv2d(64, 128, 5, groups=4)
    layers = {nn.Conv2d(32, 128, 5): 32 * 25, grouped: 16 * 25, nn.Linear(500, 200): 500}
    for layer, fan_in in layers.items():
        for name, std in {"kaiming": math.sqrt(2 / fan_in), "gaussian": 1.0}.items():
            weight = drawn(made("init", Initializer, f"init={name}"), layer)["weight"].double()
            assert weight.std() == pytest.approx(std, rel=0.02)
            assert abs(weight.mean()) < 4 * std / math.sqrt(weight.numel())


@pytest.mark.parametrize("value", ["0", "wide", ".nan"])
def test_bad_spreads_are_refused(value: str) -> None:
    for member, setting in {"gaussian": "std", "kaiming": "gain"}.items():
        with pytest.raises(UserError, match=rf"init\.{setting}=.* give a positive number"):
            made("init", Initializer, f"init={member}", f"init.{setting}={value}")


def test_hashes_are_pinned() -> None:
    assert stable_hash("a", 1, [2.5, None]) == 0x97B734CDFC441EF9
    assert stable_hash("student", "conv1.weight", bits=32) < 2**32
    assert stable_hash("ab", "c") != stable_hash("a", "bc")
    assert stable_hash({"x": 1, "y": 2}) == stable_hash({"y": 2, "x": 1})
    assert stable_hash(0) != stable_hash("0")


def test_hashes_are_the_same_in_every_process() -> None:
    code = "from diswot.keys import *; print(stable_hash('a', {'y': 1, 'x': [1]}), end=' ');"
    code += "import torch; print(torch.rand(1, generator=generator('a', 3)).item().hex())"
    env = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    there = subprocess.check_output([sys.executable, "-c", code], env=env, text=True).strip()
    here = torch.rand(1, generator=generator("a", 3)).item().hex()
    assert there == f"{stable_hash('a', {'y': 1, 'x': [1]})} {here}"


def test_the_key_of_a_weight_is_pinned() -> None:
    """A change of it changes every published score."""
    weight = drawn(made("init", Initializer, "init=gaussian"), nn.Linear(2, 2))["weight"]
    key = generator(0, "student", "weight", [2, 2])
    assert torch.equal(weight, torch.empty(2, 2).normal_(generator=key))

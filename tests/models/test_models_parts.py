"""Parts that networks have in common."""

import torch
from torch import nn

from diswot.models.init import Gaussian
from diswot.models.layers import convolution
from diswot.models.parts import Parts
from diswot.models.resnet import CifarResNet


def prepared(name: str, part: nn.Module) -> None:
    Gaussian()(part, seed=0, role="student", prefix=name)


def test_a_network_of_kept_parts_is_one_of_its_own() -> None:
    parts, widths, images = Parts(prepared), [8, 8, 16], torch.randn(2, 3, 8, 8)
    for depths in ([1, 2], [2, 1], [1, 2]):
        whole, network = CifarResNet(depths, widths), CifarResNet(depths, widths, parts=parts)
        prepared("", whole)
        own, kept = whole.state_dict(), network.state_dict()
        assert list(own) == list(kept)
        assert all(torch.equal(own[name], kept[name]) for name in own)
        network(images)  # moves the running statistics


def test_what_is_kept_and_what_goes() -> None:
    one = convolution(4, 4, 1)
    parts, made = Parts(lambda name, _: made.append(name), 3 * one.weight.nbytes), list[str]()
    for name in "abcabdab":
        parts(name, convolution, 4, 4, 1)
    assert "".join(made) == "abcd"
    parts("c", convolution, 4, 4, 1)
    parts("a", convolution, 4, 4, 3)
    assert "".join(made) == "abcdca"

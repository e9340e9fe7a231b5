"""Proxies of how much the channels of a layer's output have in common."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from diswot.checks import choice, whole
from diswot.keys import generator
from diswot.proxies import functional
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.passes import MINI_BATCH, Layer


def map_layers(layers: Sequence[Layer]) -> list[Layer]:
    """The calls among those of a pass that give maps: convolutions, and linear layers on tokens.

    A linear layer that gives one vector an image, as the classifier does, is none of them.

    Raises:
        ValueError: There is none.
    """
    chosen = [each for each in layers if each.value("gives a map", _gives_map)]
    if not chosen:
        raise ValueError("the network calls no convolution and no linear layer on tokens")
    return chosen


class _OfChannels(Proxy):
    """A sum over `map_layers`, of the pass on the mini-batch or of one on noise."""

    needs_layers = True
    outputs_only = True
    reported: tuple[str, ...] = ("inputs", "noise_images")

    def __init__(self, *, name: str, inputs: str = "noise", noise_images: int = 32) -> None:
        super().__init__(name=name)
        self.inputs = choice(f"proxy.{name}.inputs", inputs, ("noise", "images"))
        self.noise_images = whole(f"proxy.{name}.noise_images", noise_images, 2)
        self.needs_forward = self.needs_layers = inputs == "images"
        self._pass = MINI_BATCH if inputs == "images" else f"{self.noise_images} of noise"
        after = {"gives a map": _gives_map, "effective width": _width_after}
        self.layer_values = {self._pass: after}

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails without a layer that gives a map."""
        layers = map_layers(self._layers(inputs))
        widths = inputs.shared.get(
            f"effective widths, {self.inputs}, {self.noise_images}",
            lambda: [layer.value("effective width", _width_after) for layer in layers],
        )
        return {self.name: sum(map(self._term, layers, widths))}

    @abstractmethod
    def _term(self, layer: Layer, width: float) -> float:
        """What a layer adds, whose output has an effective width."""

    def _layers(self, inputs: ProxyInput) -> Sequence[Layer]:
        if self.inputs == "images":
            return inputs.layers
        return inputs.shared.get(f"layers, {self._pass}", lambda: self._noise_layers(inputs))

    def _noise_layers(self, inputs: ProxyInput) -> Sequence[Layer]:
        noise = inputs.noise("noise of channels", inputs.seed, images=self.noise_images)
        return inputs.recorded_pass(inputs.network, noise, self._pass)


def _gives_map(layer: Layer) -> bool:
    return layer.output.ndim > 2


def _width_before(layer: Layer) -> float:
    return functional.effective_width(layer.input.detach()).item()


def _width_after(layer: Layer) -> float:
    return functional.effective_width(layer.output.detach()).item()


class EffectiveWidth(_OfChannels):
    """``Σ_l w_l · (tr R_l)² / ‖R_l‖²_F``: how many channels the layers have that give maps.

    They are all convolutions and, in transformers, the linear layers on tokens. R_l is the
    correlation of a layer's output channels over images and positions (or tokens), in train mode
    (`functional.effective_width`); (tr R)² is C² where no channel is constant. Channels that
    repeat each other count once, so that the score is a width times a weight. The scale of the
    weights does not matter where every convolution is followed by BatchNorm.

    It grows with the number and width of layers and so follows parameters and FLOPs; it looks at
    no path: convolutions that do not reach the logits count. Few values a channel bound it: a
    layer with B·H·W values has a width below B·H·W. On real images neighbouring positions are
    alike and early layers seem narrower than they are; on S0 noise ranks better.

    Args:
        weight: ``channels``: w is C; ``sqrt_fan_in``: the root of the weights of one channel.
        inputs: ``noise``: one more pass, of a copy, on N(0, 1) images of the mini-batch's size;
            ``images``: the pass on the mini-batch.
        noise_images: How many images of noise.
    """

    reported = (*_OfChannels.reported, "weight")

    def __init__(
        self, *, name: str, weight: str = "channels", inputs: str = "noise", noise_images: int = 32
    ) -> None:
        super().__init__(name=name, inputs=inputs, noise_images=noise_images)
        self.weight = choice(f"proxy.{name}.weight", weight, ("channels", "sqrt_fan_in"))

    def _term(self, layer: Layer, width: float) -> float:
        weight = layer.module.get_parameter("weight")
        return width * (len(weight) if self.weight == "channels" else weight[0].numel() ** 0.5)


class EffectiveParams(_OfChannels):
    """``Σ_l k² · W(input_l) · W(output_l) / groups``: parameters between independent channels.

    Layers are those of `EffectiveWidth`, W is the `functional.effective_width` of a layer's input
    and output, k² its kernel's positions, 1 for a linear one. Where no two channels correlate this
    is the number of the layers' weights; channels that repeat each other count once on either side.
    One pass in train mode, no label, no gradient, no teacher. The scale of the weights does not
    matter where every convolution is followed by BatchNorm.

    It grows with depth and width without end, as parameters do, so that without a budget the
    largest networks win; convolutions that do not reach the logits count.
    ``inputs`` and ``noise_images`` are those of `EffectiveWidth`.
    """

    def __init__(self, *, name: str, inputs: str = "noise", noise_images: int = 32) -> None:
        super().__init__(name=name, inputs=inputs, noise_images=noise_images)
        before = {"effective width before": _width_before}
        self.layer_values = {self._pass: {**self.layer_values[self._pass], **before}}

    def _term(self, layer: Layer, width: float) -> float:
        before = layer.value("effective width before", _width_before)
        if isinstance(layer.module, nn.Linear):
            return before * width
        module = cast(nn.Conv2d, layer.module)
        return math.prod([*module.kernel_size, before, width]) / module.groups


class MeCo(Proxy):
    """``Σ_l λ_min(R_l)`` over the layers that give maps, R_l their output channels' correlation.

    Source: Jiang et al., "MeCo: Zero-Shot NAS with One Data and Single Forward Pass via Minimum
    Eigenvalue of Correlation", NeurIPS 2023. As published one image is looked at; it comes from
    the pass of the whole mini-batch, in train mode. The released code adds up the outputs of all
    modules: BatchNorm's, which change no correlation, those of ReLUs, and each container's output,
    which is that of its last member once more. Here each layer that gives a map counts once.

    It falls with the number of channels and is exactly 0 for a layer with a constant channel or
    with H·W <= C (`functional.least_eigenvalue`): of one image the deep layers add nothing, and
    narrow, early, high-resolution layers decide.

    Args:
        images: How many images of the mini-batch R is of; null for all.
    """

    needs_layers = True
    reported = ("images",)

    def __init__(self, *, name: str, images: int | None = 1) -> None:
        super().__init__(name=name)
        self.images = None if images is None else whole(f"proxy.{name}.images", images, 1)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails without a layer that gives a map, or where every layer adds 0."""
        terms = [self._term(inputs.seed, layer) for layer in map_layers(inputs.layers)]
        total = torch.stack(terms).sum().item()
        if not total:
            raise ValueError("no layer has independent channels: H·W is C at most, or one is dead")
        return {self.name: total}

    def _term(self, seed: int, layer: Layer) -> Tensor:
        return functional.least_eigenvalue(layer.output.detach()[: self.images])


class MeCoOpt(MeCo):
    """``Σ_l C_l/8 · λ_min`` of 8 random output channels of every layer: MeCo's fast form.

    Source: Jiang et al., NeurIPS 2023, see `MeCo`. A layer's channels are drawn by seed, its name
    and its width, so that candidates with the same layer look at the same ones; a layer of fewer
    than 8 channels is taken whole, with weight 1. C/8 makes wide layers count where λ_min alone
    falls with the width, so that the score follows the number of channels; with one image, a layer
    of up to 8 positions adds nothing.
    """

    def _term(self, seed: int, layer: Layer) -> Tensor:
        maps, width = layer.output.detach()[: self.images], layer.output.shape[1]
        key = generator("meco_opt proxy", seed, layer.name, width)
        chosen = torch.randperm(width, generator=key)[:8].to(maps.device)
        return functional.least_eigenvalue(maps[:, chosen]) * (width / len(chosen))

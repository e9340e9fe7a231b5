"""Dextr: conditioning of the layers' maps and curvature of the logits."""

import torch
from torch import nn

from diswot.checks import whole
from diswot.proxies import functional
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.channels import map_layers


class Dextr(Proxy):
    """``ln(1 + c) ln(1 + κ) / (ln(1 + c) + ln(1 + κ))``: c conditions the maps, κ bends the logits.

    c is ``Σ_l σ_min/σ_max`` over the layers' maps of the mini-batch's first image
    (`functional.inverse_condition`), κ the mean extrinsic curvature of the logits at points of a
    circle through two N(0, 1) images. Source: Asthana et al., "Dextr: Zero-Shot Neural Architecture
    Search with Singular Value Decomposition and Extrinsic Curvature", TMLR 2025.

    The released code sums c over the outputs of all modules, containers once more than their last
    member, and takes κ at one point of a circle of images of norm 1, where BatchNorm's ε is felt;
    here each layer that gives a map counts once, the pixels have a mean square of 1, and several
    points make one batch, because BatchNorm in train mode cannot take one value a channel.

    Where κ is large the score is next to ln(1 + c), and the other way round: the smaller one
    decides. Curvature has the unit of one over the logits' size, and so follows the initialisation
    of the classifier. Kinks of ReLU count for nothing: only BatchNorm and the circle itself bend.

    Args:
        points: At equal steps of the circle.
    """

    needs_layers = True
    reported = ("points",)

    def __init__(self, *, name: str, points: int = 4) -> None:
        super().__init__(name=name)
        self.points = whole(f"proxy.{name}.points", points, 2)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails where the logits do not depend on the images."""
        layers = map_layers(inputs.layers)
        terms = [functional.inverse_condition(each.output.detach()[0]) for each in layers]
        network = inputs.copy()
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.running_mean = module.running_var = module.num_batches_tracked = None
        keys = (("dextr proxy", inputs.seed, which) for which in ("first", "second"))
        one, other = (inputs.noise(*key, images=1)[0] for key in keys)
        with torch.no_grad():
            velocity, acceleration = functional.circle_curvature(network, (one, other), self.points)
        if not bool(velocity.any()):
            raise ValueError("the logits do not depend on the images")
        kappa = functional.extrinsic_curvature(velocity, acceleration).mean()
        return {self.name: functional.dextr(torch.stack(terms).sum(), kappa).item()}

"""Jacobian covariance as a proxy."""

from __future__ import annotations

from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.functional.jacobian import row_correlation, spectrum_score

__all__ = ["Jacov"]


class Jacov(Proxy):
    """``−Σ_i [ln(v_i + 1e-5) + 1 / (v_i + 1e-5)]``, v the spectrum of the images' Jacobians.

    Source: Mellor et al., "Neural Architecture Search without Training", first version, 2020; as a
    proxy Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021. A row is the
    gradient of the sum of all logits to one image, in train mode; v are the eigenvalues of the
    rows' correlation ``(B, B)``, which is symmetric and solved as such. With BatchNorm in train
    mode the values lie close together (near −B), so that digits matter. Released code that scores
    several networks on one input tensor adds up their gradients; here each has its own.
    """

    needs_gradients = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`.

        Raises:
            ValueError: An image's gradient is constant, as where no layer reaches the logits.
        """
        assert inputs.gradients is not None
        return {"jacov": spectrum_score(row_correlation(inputs.gradients.images)).item()}

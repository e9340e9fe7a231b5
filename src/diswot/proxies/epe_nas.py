"""EPE-NAS as a proxy."""

from __future__ import annotations

from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.functional.jacobian import class_correlation

__all__ = ["EpeNAS"]


class EpeNAS(Proxy):
    """``Σ_c |Σ_ij ln(|corr_ij| + 1e-5)|``, corr the correlation of Jacobians within class c.

    Source: Lopes et al., "EPE-NAS: Efficient Performance Estimation Without Training for Neural
    Architecture Search", ICANN 2021. A row is the gradient of the sum of all logits to one image,
    in train mode; the diagonal is included, so a class with one image adds 1e-5. With more than
    100 classes, classes are compared instead of added up, see
    `diswot.proxies.functional.jacobian.class_correlation`. How many classes there are is the
    classifier's width. A balanced mini-batch needs more images than classes.
    """

    needs_labels = True
    needs_gradients = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`.

        Raises:
            ValueError: No class has two images, or an image's gradient is constant.
        """
        assert inputs.gradients is not None
        assert inputs.outputs is not None
        classes = inputs.outputs.logits.shape[1]
        value = class_correlation(inputs.gradients.images, inputs.batch.labels, classes)
        return {"epe_nas": value.item()}

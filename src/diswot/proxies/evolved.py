"""Proxies whose formula an evolutionary search has found."""

from torch import nn

from diswot.checks import choice
from diswot.proxies import functional
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.passes import weighted


class AutoDAS(Proxy):
    """The students' half of Auto-DAS's evolved proxies, see `functional.auto_das`.

    Taken are the gradients of the mean cross-entropy by the weights of all convolutions. Source:
    Sun et al., "Auto-DAS", ECCV 2024; the other half, a distance of the teacher's maps to the
    student's, is left out. A convolution that does not reach the logits has gradients of zeros.

    Gradients of a fresh network are small beside 1, where the softmax is flat: the score is next
    to ``Σ √n ln C`` (s0) or ``Σ tanh ln C`` (nasbench201), n a layer's weights and C its channels:
    a measure of size, or the number of convolutions. Both were found on accuracies of the space
    they are named after.

    Args:
        form: ``s0`` or ``nasbench201``.
    """

    needs_labels = True
    needs_gradients = True
    reported = ("form",)

    def __init__(self, *, name: str, form: str = "s0") -> None:
        super().__init__(name=name)
        self.form = choice(f"proxy.{name}.form", form, ("s0", "nasbench201"))

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails where less than half of the layers are convolutions."""
        modules = weighted(inputs.network)
        kinds = nn.modules.conv._ConvNd
        convs = [name for name, module in modules.items() if isinstance(module, kinds)]
        if not convs:
            raise ValueError("the network has no convolution")
        if 2 * len(convs) < len(modules):
            raise ValueError(f"only {len(convs)} of {len(modules)} layers are convolutions")
        gradients = inputs.gradients.weights
        return {self.name: functional.auto_das((gradients[n] for n in convs), self.form).item()}

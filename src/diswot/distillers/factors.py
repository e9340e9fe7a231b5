"""Factor transfer: both networks' last maps are told in fewer channels before they are compared."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from diswot.checks import number
from diswot.distillers import Distiller, Step
from diswot.distillers.functional import ft
from diswot.models.outputs import NetworkOutputs

_SLOPE = 0.1


class FT(Distiller):
    """Factors of the last stage's maps, see `functional.ft`, by networks of three convolutions.

    The teacher's factors, of ``rate`` times its width, are the code of an autoencoder, the
    paraphraser; the student's are what the translator makes of its map. Published, the paraphraser
    is trained before the student. Here it is trained beside it, by its own squared error of
    ``reconstruction`` in the loss, which alone reaches it.
    """

    reads_classifier = False

    def __init__(
        self, *, name: str, rate: float = 0.5, reconstruction: float = 0.005, **weights: float
    ) -> None:
        super().__init__(name=name, **weights)
        self.rate = number(f"distiller.{name}.rate", rate, low=0.01, high=1)
        self.reconstruction = number(f"distiller.{name}.reconstruction", reconstruction, low=0)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build paraphraser and translator."""
        width_t, width_s = (maps.shape[1] for maps in self.pairs(teacher, student)[-1])
        factors = max(1, int(width_t * self.rate))
        self.encoder = _convolutions(width_t, width_t, factors, factors)
        self.decoder = _convolutions(factors, factors, width_t, width_t)
        self.translator = _convolutions(width_s, width_s, factors, factors, normalised=True)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        map_t, map_s = self.pairs(teacher, student)[-1]
        factors: Tensor = self.encoder(map_t)
        error = F.mse_loss(self.decoder(factors), map_t)
        return ft(factors.detach(), self.translator(map_s)) + self.reconstruction * error


def _convolutions(*widths: int, normalised: bool = False) -> nn.Sequential:
    """3 x 3 convolutions from each width to the next, each with a leaky ReLU."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers.append(nn.Conv2d(before, after, 3, padding=1, bias=not normalised))
        layers += [nn.BatchNorm2d(after)] if normalised else []
        layers.append(nn.LeakyReLU(_SLOPE))
    return nn.Sequential(*layers)

"""Pure functions behind the proxies: of tensors, or of a network and what it is run on.

None changes a parameter or draws a random number. Losses that KD-based proxies turn round are in
`diswot.distillers.functional`, parameters, MACs and layers in `diswot.models.cost`.
"""

from diswot.proxies.combine import combine
from diswot.proxies.functional import (
    az_nas,
    features,
    gradients,
    saliency,
    similarity,
    vkdnw,
    wrcor,
)
from diswot.proxies.functional.az_nas import *  # noqa: F403
from diswot.proxies.functional.features import *  # noqa: F403
from diswot.proxies.functional.gradients import *  # noqa: F403
from diswot.proxies.functional.saliency import *  # noqa: F403
from diswot.proxies.functional.similarity import *  # noqa: F403
from diswot.proxies.functional.vkdnw import *  # noqa: F403
from diswot.proxies.functional.wrcor import *  # noqa: F403

__all__ = ["combine"]
__all__ += az_nas.__all__
__all__ += features.__all__
__all__ += gradients.__all__
__all__ += saliency.__all__
__all__ += similarity.__all__
__all__ += vkdnw.__all__
__all__ += wrcor.__all__

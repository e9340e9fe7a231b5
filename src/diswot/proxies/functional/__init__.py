"""Pure functions behind the proxies: of tensors, or of a network and what it is run on.

None changes a parameter or draws a random number. Losses that KD-based proxies turn round are in
`diswot.distillers.functional`, parameters, MACs and layers in `diswot.models.outputs`.
"""

from diswot.proxies.base import combine
from diswot.proxies.functional import (
    az_nas,
    channels,
    curvature,
    evolved,
    features,
    gradients,
    patterns,
    ranks,
    saliency,
    similarity,
    vkdnw,
    wrcor,
)
from diswot.proxies.functional.az_nas import *  # noqa: F403
from diswot.proxies.functional.channels import *  # noqa: F403
from diswot.proxies.functional.curvature import *  # noqa: F403
from diswot.proxies.functional.evolved import *  # noqa: F403
from diswot.proxies.functional.features import *  # noqa: F403
from diswot.proxies.functional.gradients import *  # noqa: F403
from diswot.proxies.functional.patterns import *  # noqa: F403
from diswot.proxies.functional.ranks import *  # noqa: F403
from diswot.proxies.functional.saliency import *  # noqa: F403
from diswot.proxies.functional.similarity import *  # noqa: F403
from diswot.proxies.functional.vkdnw import *  # noqa: F403
from diswot.proxies.functional.wrcor import *  # noqa: F403

__all__ = ["combine"]
__all__ += az_nas.__all__
__all__ += channels.__all__
__all__ += curvature.__all__
__all__ += evolved.__all__
__all__ += features.__all__
__all__ += gradients.__all__
__all__ += patterns.__all__
__all__ += ranks.__all__
__all__ += saliency.__all__
__all__ += similarity.__all__
__all__ += vkdnw.__all__
__all__ += wrcor.__all__

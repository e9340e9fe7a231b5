"""Pure functions behind the proxies: of tensors, or of a network and what it is run on.

None changes a parameter or draws a random number. Losses that KD-based proxies turn round are in
`diswot.distillers.functional`, parameters, MACs and layers in `diswot.models.outputs`.
"""

from types import FunctionType

from diswot.proxies.base import combine as combine
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

__all__ = [name for name, value in globals().items() if isinstance(value, FunctionType)]

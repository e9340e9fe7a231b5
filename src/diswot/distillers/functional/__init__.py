"""Pure functions (teacher, student) → scalar loss; lower is better.

They take what one forward pass gives and know no network. No weight of a loss beside the
cross-entropy is inside. The gradient is meant for the student; none is cut, so a caller that wants
none for the teacher runs it without. `standardize` alone is no loss, but what may come before one.
"""

from diswot.distillers.functional import logits, maps, relations
from diswot.distillers.functional.logits import *  # noqa: F403
from diswot.distillers.functional.maps import *  # noqa: F403
from diswot.distillers.functional.relations import *  # noqa: F403

__all__: list[str] = []
__all__ += logits.__all__
__all__ += maps.__all__
__all__ += relations.__all__

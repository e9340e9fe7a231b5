"""Pure functions (teacher, student) → scalar loss; lower is better.

A loss is at least 0 up to rounding, and 0 for equal inputs, its minimum, unless it says otherwise;
no weight beside the cross-entropy is inside. Shapes that it cannot compare raise `ValueError`. None
cuts gradients, unless it says so: run the teacher without. `standardize` alone is no loss, but what
may come before one.
"""

from diswot.distillers.functional import (
    activations,
    contrast,
    logits,
    maps,
    relations,
    transfer,
    vectors,
)
from diswot.distillers.functional.activations import *  # noqa: F403
from diswot.distillers.functional.contrast import *  # noqa: F403
from diswot.distillers.functional.logits import *  # noqa: F403
from diswot.distillers.functional.maps import *  # noqa: F403
from diswot.distillers.functional.relations import *  # noqa: F403
from diswot.distillers.functional.transfer import *  # noqa: F403
from diswot.distillers.functional.vectors import *  # noqa: F403

__all__ = activations.__all__ + contrast.__all__ + logits.__all__ + maps.__all__
__all__ += relations.__all__ + transfer.__all__ + vectors.__all__

"""Pure functions (teacher, student) → scalar loss; lower is better.

They take what one forward pass gives and know no network. No weight of a loss beside the
cross-entropy is inside. The gradient is meant for the student; none is cut, so a caller that wants
none for the teacher runs it without.
"""

from diswot.distillers.functional.logits import kd
from diswot.distillers.functional.maps import at, fitnet, nst
from diswot.distillers.functional.relations import cc, pkt, rkd, sp

__all__ = ["at", "cc", "fitnet", "kd", "nst", "pkt", "rkd", "sp"]

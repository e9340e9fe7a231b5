"""Pure functions (teacher, student) → scalar loss; lower is better.

They take what one forward pass gives and know no network. No weight of a loss beside the
cross-entropy is inside. The gradient is meant for the student; none is cut, so a caller that wants
none for the teacher runs it without. `standardize` alone is no loss, but what may come before one.
"""

from diswot.distillers.functional.channels import ickd, vid
from diswot.distillers.functional.logits import dist, dkd, kd, standardize
from diswot.distillers.functional.maps import at, fitnet, nst
from diswot.distillers.functional.relations import cc, pkt, rkd, sp

__all__ = [
    "at",
    "cc",
    "dist",
    "dkd",
    "fitnet",
    "ickd",
    "kd",
    "nst",
    "pkt",
    "rkd",
    "sp",
    "standardize",
    "vid",
]

"""Which student should this teacher teach, and what will distillation give?

Training-free student architecture search (DisWOT, CVPR 2023). Everything heavy is imported when
it is first used.
"""

from typing import TYPE_CHECKING, Any

from diswot._version import __version__
from diswot.errors import UserError

if TYPE_CHECKING:
    from diswot.api import (
        RaceResult,
        Score,
        SearchResult,
        TrainResult,
        find_student,
        load_student,
        race_students,
        rank_proxies,
        score_arch,
        train_student,
    )

__all__ = ["RaceResult", "Score", "SearchResult", "TrainResult", "UserError", "__version__"]
__all__ += ["find_student", "load_student", "race_students", "rank_proxies", "score_arch"]
__all__ += ["train_student"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from diswot import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

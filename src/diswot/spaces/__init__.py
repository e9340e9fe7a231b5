"""Search spaces: each samples, mutates, enumerates, parses and builds architectures."""

from diswot.spaces.base import Arch, Space, SpaceSize

__all__ = ["Arch", "Space", "SpaceSize"]

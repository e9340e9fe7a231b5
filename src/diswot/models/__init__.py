"""Teachers, fixed students, and the parts that search spaces build networks from."""

from diswot.models.outputs import Network, NetworkOutputs

__all__ = ["Network", "NetworkOutputs"]

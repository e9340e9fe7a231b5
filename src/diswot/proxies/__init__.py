"""Training-free scores of an architecture; higher is better, always."""

from diswot.proxies.base import Proxy, ProxyContext, Subject

__all__ = ["Proxy", "ProxyContext", "Subject"]

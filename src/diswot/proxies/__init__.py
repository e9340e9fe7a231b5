"""Training-free scores of an architecture; higher is better, always."""

from diswot.proxies.base import Proxy, ProxyContext, ProxyInput

__all__ = ["Proxy", "ProxyContext", "ProxyInput"]

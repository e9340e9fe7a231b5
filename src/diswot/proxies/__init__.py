"""Training-free scores of an architecture; higher is better, always."""

from diswot.proxies.base import Components, Proxy, ProxyContext, ProxyInput, Summary

__all__ = ["Components", "Proxy", "ProxyContext", "ProxyInput", "Summary"]

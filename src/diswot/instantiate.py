"""From a config node with ``_target_`` to the object it describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from diswot.errors import UserError

__all__ = ["make"]

T = TypeVar("T")


def make(node: Mapping[str, Any], group: str, kind: type[T], **further: Any) -> T:
    """Instantiate a config node.

    Args:
        node: The node.
        group: Where it stands in the config, for messages.
        kind: What it must give.
        further: Arguments beside those of the node.

    Raises:
        UserError: What the node's class says is wrong with its settings, or that it is none.
    """
    if not isinstance(node, Mapping):
        raise UserError(f"{group}={node}: give a node with _target_, as its YAML has it")
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        made = instantiate(node, _convert_="all", **further)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, TypeError | ValueError | ImportError | AttributeError | None):
            told = " ".join(str(cause or error).split())
            raise UserError(
                f"{group}: {node.get('_target_')} refuses its settings: {told}"
            ) from error
        raise
    if not isinstance(made, kind):
        raise UserError(f"{group}: {node.get('_target_')} gives no {kind.__name__}")
    return made

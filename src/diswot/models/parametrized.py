"""Networks whose tensors are functions of others while they train."""

import copy

from torch import nn
from torch.nn.utils.parametrize import is_parametrized


def plain(network: nn.Module) -> nn.Module:
    """A copy whose parametrised tensors (`torch.nn.utils.parametrize`) are as they are now.

    They are plain parameters there. The network itself where none is parametrised.
    """
    if not any(map(is_parametrized, network.modules())):
        return network
    network = copy.deepcopy(network)
    for module in filter(is_parametrized, list(network.modules())):
        assert isinstance(module.parametrizations, nn.ModuleDict)
        values = {name: getattr(module, name).detach() for name in module.parametrizations}
        # A copy has the class that torch made for the original, which its own removal would empty.
        module.__class__ = type(module).__bases__[0]
        del module.parametrizations
        for name, value in values.items():
            module.register_parameter(name, nn.Parameter(value))
    return network

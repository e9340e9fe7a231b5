"""Makes any classifier of torchvision or timm show its inside, by hooks."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol, Self, cast

from torch import Tensor, nn

from diswot.errors import UserError
from diswot.models._recorder import Recorder, is_activation
from diswot.models.outputs import NetworkOutputs

__all__ = ["AdaptedNetwork", "WeightSource", "nearest"]

_REGISTRIES = ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules")


class WeightSource(Protocol):
    """Where the published weights of an adapted network come from."""

    def tags(self) -> Sequence[str]:
        """The tags there are for this network."""
        ...

    def fetch(self, tag: str) -> Mapping[str, Tensor]:
        """Download the weights of a tag; raises ``OSError`` where that fails."""
        ...


class AdaptedNetwork(nn.Module):
    """A :class:`~diswot.models.outputs.Network` around a classifier that knows nothing of it.

    The adapter *shares the registries* of the model (parameters, buffers, children) instead of
    holding the model as a child. So names are the model's own (``layer1.0.conv1.weight``, no
    prefix) in ``state_dict``, ``named_parameters`` and ``named_modules``, and whatever is loaded,
    moved, drawn or replaced through the adapter is so in the model. Plain calls run the model
    untouched; hooks exist only during :meth:`outputs`, which is therefore not to be called from
    two threads at once.

    Args:
        model: The classifier; its ``forward`` returns logits.
        stages: Paths of the modules whose outputs are the stage maps, in order of execution.
        classifier: Path of the last linear layer.
        source: Where published weights of this model come from, if anywhere.

    Raises:
        UserError: For a path that does not exist, or a classifier that is not linear.
    """

    _model: nn.Module

    def __init__(
        self,
        model: nn.Module,
        stages: Sequence[str],
        classifier: str,
        *,
        source: WeightSource | None = None,
    ) -> None:
        super().__init__()
        _check_paths(model, stages, classifier)
        self.__dict__.update({name: getattr(model, name) for name in _REGISTRIES}, _model=model)
        self.training = model.training
        self.source = source
        self._stage_paths = tuple(stages)
        self._classifier_path = classifier

    @property
    def classifier(self) -> nn.Linear:
        """The last linear layer, ``(K, C)`` weights."""
        return cast(nn.Linear, self.get_submodule(self._classifier_path))

    def get_submodule(self, target: str) -> nn.Module:
        """The model's module at a path, also where this class has a property of that name."""
        return self._model.get_submodule(target)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the adapter and of the model."""
        self._model.train(mode)
        self.training = mode
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)`` of ``(B, in_channels, H, W)`` images."""
        return cast(Tensor, self._model(images))

    def outputs(self, images: Tensor) -> NetworkOutputs:
        """Stage maps, embedding and logits from one forward pass.

        A stage's preactivation is the input of the activation module that ends the stage, if one
        does; otherwise the stage's output itself.

        Args:
            images: ``(B, in_channels, H, W)``, normalised.

        Raises:
            UserError: Where a stage gives anything but a ``(B, C, H, W)`` map, or does not run.
        """
        recorder = Recorder()
        with self._recording(recorder):
            logits = self(images)
        pairs = [recorder.stage(path) for path in self._stage_paths]
        return NetworkOutputs(
            stages=tuple(after for _, after in pairs),
            preactivations=tuple(before for before, _ in pairs),
            embedding=recorder.embedding(self._classifier_path),
            logits=logits,
        )

    @contextmanager
    def _recording(self, recorder: Recorder) -> Iterator[None]:
        stages = {path: self.get_submodule(path) for path in self._stage_paths}
        inside = (module for stage in stages.values() for module in stage.modules())
        with ExitStack() as hooks:
            for module in dict.fromkeys(filter(is_activation, inside)):
                hooks.enter_context(module.register_forward_pre_hook(recorder.enter_activation))
                hooks.enter_context(module.register_forward_hook(recorder.leave_activation))
            for path, stage in stages.items():
                hooks.enter_context(stage.register_forward_hook(recorder.leave_stage(path)))
            hooks.enter_context(
                self.classifier.register_forward_pre_hook(recorder.enter_classifier)
            )
            yield


def nearest(name: str, allowed: Sequence[str], count: int = 5) -> str:
    """The allowed names most like ``name``, comma separated, for error messages."""
    return ", ".join(difflib.get_close_matches(name, allowed, n=count, cutoff=0.0))


def _check_paths(model: nn.Module, stages: Sequence[str], classifier: str) -> None:
    modules = {path: module for path, module in model.named_modules() if path}
    if not stages:
        raise UserError("network.stages: at least one module path is needed")
    for setting, path in [*(("stages", path) for path in stages), ("classifier", classifier)]:
        if path not in modules:
            raise UserError(
                f"network.{setting}: {type(model).__name__} has no module {path!r}; "
                f"nearest: {nearest(path, list(modules))}; "
                f"at its top: {', '.join(name for name, _ in model.named_children())}"
            )
    if not isinstance(modules[classifier], nn.Linear):
        linear = [path for path, module in modules.items() if isinstance(module, nn.Linear)]
        raise UserError(
            f"network.classifier: {classifier!r} is a {type(modules[classifier]).__name__}, "
            f"not a Linear; allowed: {', '.join(linear[-5:]) or 'none in this model'}"
        )

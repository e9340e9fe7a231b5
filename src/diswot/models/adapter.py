"""Classifiers of torchvision and timm as networks that show stage maps and embedding."""

import difflib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Protocol, cast

from torch import Tensor, nn

from diswot.errors import UserError
from diswot.models.finding import find_parts, shown
from diswot.models.outputs import NetworkOutputs
from diswot.models.shared import SharedModule

_ACTIVATIONS = {"torch.nn.modules.activation", "timm.layers.activations"}


class WeightSource(Protocol):
    """Where the published weights of an adapted network come from."""

    def tags(self) -> Sequence[str]:
        """Those of this network."""

    def fetch(self, tag: str) -> Mapping[str, Tensor]:
        """Download the weights of a tag, or take them from what was downloaded before."""


class AdaptedNetwork(SharedModule):
    """A :class:`~diswot.models.outputs.Network` around any classifier, by hooks.

    Names are the model's own (``layer1.0.conv1.weight``), see `SharedModule`. Plain calls run the
    model as it is (but for `_subsample_first`); hooks that record exist only during
    :meth:`outputs`, which is therefore not to be called from two threads at once.

    Args:
        model: The classifier; its ``forward`` returns logits.
        stages: Paths of the modules whose outputs are the stage maps, in order of execution.
        classifier: Path of the last linear layer.
        source: Of published weights, if any.

    Raises:
        UserError: For a path that does not exist, or a classifier that is not linear.
    """

    def __init__(
        self,
        model: nn.Module,
        stages: Sequence[str],
        classifier: str,
        *,
        source: WeightSource | None = None,
    ) -> None:
        _check_paths(model, stages, classifier)
        _subsample_first(model)
        super().__init__(model)
        self.source = source
        self.stage_paths = tuple(stages)
        """See ``stages``."""
        self._classifier_path = classifier

    @property
    def classifier(self) -> nn.Linear:
        """See `Network`."""
        return cast(nn.Linear, self.get_submodule(self._classifier_path))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)`` of ``(B, in_channels, H, W)`` images."""
        return cast(Tensor, self._model(images))

    def outputs(self, images: Tensor) -> NetworkOutputs:
        """See `Network`.

        A stage's preactivation is the input of the activation module that ends the stage, if one
        does; otherwise the stage's output itself. Activations do not work in place meanwhile.

        Raises:
            UserError: Where a stage gives no map (see `shown`), or does not run.
        """
        recorder = _Recorder(int(getattr(self._model, "num_prefix_tokens", 0)))
        stages = {path: self.get_submodule(path) for path in self.stage_paths}
        inside = (module for stage in stages.values() for module in stage.modules())
        with ExitStack() as stack:
            for module in filter(_is_activation, self._model.modules()):
                if getattr(module, "inplace", False):
                    stack.callback(setattr, module, "inplace", True)
                    module.inplace = False  # type: ignore[assignment]
            for module in dict.fromkeys(filter(_is_activation, inside)):
                stack.enter_context(module.register_forward_hook(recorder.activation))
            for path, stage in stages.items():
                stack.enter_context(stage.register_forward_hook(partial(recorder.stage, path)))
            stack.enter_context(self.classifier.register_forward_pre_hook(recorder.classifier))
            logits = self(images)
        did_not_run = "did not run in the forward pass"
        if missing := [path for path in self.stage_paths if path not in recorder.stages]:
            raise UserError(f"network.stages: {missing[0]!r} {did_not_run}")
        if recorder.embedding is None:
            raise UserError(f"network.classifier: {self._classifier_path!r} {did_not_run}")
        before, after = zip(*(recorder.stages[path] for path in self.stage_paths), strict=True)
        return NetworkOutputs(after, before, recorder.embedding, logits)


class _Recorder:
    """Hooks of one forward pass, and the tensors they kept.

    After each stage a copy is passed on, which later operations may overwrite in place; the kept
    tensor itself lies on the way to the logits, so gradients reach it.
    """

    def __init__(self, prefix: int) -> None:
        self._prefix = prefix  # tokens of no place
        self.stages: dict[str, tuple[Tensor, Tensor]] = {}
        """Preactivation and map of each stage that ran."""
        self.embedding: Tensor | None = None
        self._activation: tuple[Tensor, Tensor, int] | None = None
        """Input and output of the last activation, and the output's version."""

    def activation(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        self._activation = (args[0], output, _version(output))

    def stage(self, path: str, module: nn.Module, args: Any, output: Any) -> Tensor:
        seen = shown(output, self._prefix)
        if seen is None:
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(f"network.stages: {path!r} gives {shape}, not a (B, C, H, W) map")
        before, passed_on = seen.map, seen.back(seen.map).clone()
        if self._activation is not None and seen.map is output:
            entered, left, version = self._activation
            if output is left and _version(output) == version:  # nothing was added in place
                before = entered
                # An enclosing stage may end in the same activation.
                self._activation = (entered, passed_on, _version(passed_on))
        self.stages[path] = (before, seen.map)
        return passed_on

    def classifier(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.embedding = args[0].flatten(1)


def adapted(
    model: nn.Module, images: Tensor, stages: Sequence[str] | None = None
) -> AdaptedNetwork:
    """The adapter of a classifier in eval mode; `find_parts` finds what is not given.

    Raises:
        UserError: The last layer is not linear, no module gives maps, or a path does not exist.
    """
    parts = find_parts(model, images)
    if not (stages or parts.stages):
        raise UserError("none of its modules gives square maps (B, C, H, W); name its stages")
    return AdaptedNetwork(model, stages or parts.stages, parts.classifier)


def nearest(name: str, allowed: Sequence[str], count: int = 5) -> str:
    """The allowed names most like ``name``, comma separated, for error messages."""
    return ", ".join(difflib.get_close_matches(name, allowed, n=count, cutoff=0.0))


def _is_activation(module: nn.Module) -> bool:
    """Whether a module is an activation function of torch or timm, or derives from one."""
    homes = {parent.__module__ for parent in type(module).__mro__}
    return bool(homes & _ACTIVATIONS) and not isinstance(module, nn.MultiheadAttention)


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; unknown (0) under ``torch.inference_mode``."""
    return 0 if tensor.is_inference() else tensor._version


def _subsample_first(model: nn.Module) -> None:
    """Let 1 x 1 convolutions with a stride and few input channels read a subsampled map.

    The stems of RepVGG, MobileOne and FastViT have such layers. With 2 to 7 input channels and in
    channels_last, the backward pass of oneDNN writes beyond its memory and the process dies (seen
    with torch 2.13 on a CPU with AVX2).
    """
    for module in model.modules():
        if not isinstance(module, nn.Conv2d) or module.in_channels > 7:
            continue
        if module.kernel_size == (1, 1) and module.padding == (0, 0) and module.stride > (1, 1):
            module.register_forward_pre_hook(partial(_subsample, module.stride))
            module.stride = (1, 1)


def _subsample(stride: tuple[int, ...], module: nn.Module, args: tuple[Tensor, ...]) -> Tensor:
    return args[0][..., :: stride[0], :: stride[1]]


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

"""StageFeatures: what a convolutional network has computed at the end of each resolution."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Size, Tensor, nn

__all__ = ["StageFeatures"]


class StageFeatures:
    """Keeps the last feature map of each resolution while a network runs, inside a context.

    A stage is all that runs at one height and width. Its last feature map is the output of the last
    module with that resolution, of those that are nested least: a block counts as a whole, whatever
    runs inside. Features of one pixel are left out.

    Args:
        model: The network.
        run: Runs it on inputs, if it is not called itself.
        example: A few inputs, on which the stages are found in evaluation mode.

    Example:
        >>> conv = nn.Conv2d(1, 2, 3, stride=2, padding=1)
        >>> model = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1))
        >>> images = torch.zeros(5, 1, 8, 8)
        >>> with StageFeatures(model, model, images) as features:
        ...     _ = model(images)
        ...     [tuple(one.shape) for one in features.last(3)]
        [(5, 2, 4, 4), (5, 2, 2, 2)]
    """

    def __init__(self, model: nn.Module, run: Callable[[Tensor], object], example: Tensor) -> None:
        self._model, self._run, self._example = model, run, example
        self._found: dict[Size, Tensor] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        ends: dict[Size, tuple[int, nn.Module]] = {}  # height and width -> depth, last module

        def note(depth: int) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                size = _resolution(output)
                if size is not None and (size not in ends or depth <= ends[size][0]):
                    ends[size] = depth, module

            return hook

        named = [(name, one) for name, one in self._model.named_modules() if name]
        handles = [one.register_forward_hook(note(name.count("."))) for name, one in named]
        training = self._model.training
        with torch.no_grad():
            self._model.eval()
            self._run(self._example)
            self._model.train(training)
        for handle in handles:
            handle.remove()
        self._handles = [module.register_forward_hook(self._keep) for _, module in ends.values()]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def last(self, count: int) -> list[Tensor]:
        """Return the last feature map of each of the last stages, in order, and forget them.

        Args:
            count: How many stages, at most.
        """
        found = [*self._found.values()][-count:]
        self._found = {}
        return found

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        size = _resolution(output)
        if size is not None:
            self._found.pop(size, None)  # the last of several calls counts, also in the order
            self._found[size] = output.clone()  # the next layer may change it in place


def _resolution(output: object) -> Size | None:
    """Return height and width of a feature map of more than one pixel; None for other outputs."""
    if not isinstance(output, Tensor) or output.dim() != 4 or output.shape[2:].numel() == 1:
        return None
    return output.shape[2:]

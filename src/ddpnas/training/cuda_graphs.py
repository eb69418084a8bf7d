"""Captures: a training step that is recorded once as a CUDA graph and then replayed.

The step of a small network is hundreds of short kernels, which take longer to launch than to run.
If the same network trains on batches of one shape many times (a path of a supernet for an epoch,
or several paths in turn), its step is captured as a CUDA graph and launched as a whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Captures", "CudaGraphs", "Graph", "Step"]

logger = logging.getLogger(__name__)

Step = Callable[[Tensor, Tensor], Tensor]

EAGER_STEPS = 1  # calls before the capture, which load kernels and allocate memory


class Graph(Protocol):
    """Records what a function does on the device, and does it again."""

    def eager(self, call: Callable[[], Tensor]) -> Tensor:
        """Return what the call gives, run in the way that a later capture needs."""

    def capture(self, call: Callable[[], Tensor]) -> Tensor:
        """Record the call without running it; return where each replay leaves its result."""

    def replay(self) -> None:
        """Run what was recorded."""


class CudaGraphs:
    """Makes graphs of a CUDA device that share their memory: only one of them runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()
        self._first = torch.cuda.CUDAGraph()  # a pool ends with the last of its graphs
        with torch.cuda.graph(self._first, pool=self.pool, stream=self.stream):
            torch.zeros(1, device=device)

    def __call__(self) -> Graph:
        """Return a graph that has captured nothing yet."""
        return _CudaGraph(self)


class _CudaGraph:
    """A graph of a CUDA device; see :class:`Graph`."""

    def __init__(self, shared: CudaGraphs) -> None:
        self._shared = shared
        self._graph = torch.cuda.CUDAGraph()

    def eager(self, call: Callable[[], Tensor]) -> Tensor:
        """Run the call on the stream of captures, between what comes before and after."""
        device, stream = self._shared.device, self._shared.stream
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            result = call()
        torch.cuda.current_stream(device).wait_stream(stream)
        return result

    def capture(self, call: Callable[[], Tensor]) -> Tensor:
        """Record the call; see :class:`Graph`."""
        pool, stream = self._shared.pool, self._shared.stream
        with torch.cuda.graph(self._graph, pool=pool, stream=stream):
            return call()

    def replay(self) -> None:
        """Launch the recorded call on the current stream."""
        self._graph.replay()


class Captures:
    """Makes steps ``(inputs, labels) -> loss`` that are captured and replayed where possible.

    Args:
        make: Makes an object that records one step; None leaves all steps unchanged.

    Example:
        >>> step = lambda inputs, labels: inputs.sum()
        >>> Captures(None).step(step) is step
        True
    """

    def __init__(self, make: Callable[[], Graph] | None) -> None:
        self._make = make
        self._read: dict[object, tuple[Tensor, Tensor]] = {}  # by shapes, for all steps

    @classmethod
    def on(cls, device: torch.device) -> Captures:
        """Return captures for a device: CUDA graphs on CUDA, none elsewhere."""
        return cls(CudaGraphs(device) if device.type == "cuda" else None)

    @property
    def recording(self) -> bool:
        """Whether steps are captured."""
        return self._make is not None

    def step(self, step: Step) -> Step:
        """Return a step that does the same.

        The first call runs eagerly, the second is captured as a CUDA graph. Batches of the
        captured shape replay it; other shapes run eagerly. If the device refuses to capture, all
        steps run eagerly and a warning says so once. Several captured steps may take turns.

        Args:
            step: Trains on one batch. It must not wait for the device, nor depend on anything but
                its arguments and the tensors it was made for.
        """
        if self._make is None:
            return step
        graph = self._make()
        calls = 0
        captured: tuple[Tensor, Tensor, Tensor] | None = None

        def run(inputs: Tensor, labels: Tensor) -> Tensor:
            nonlocal calls, captured
            calls += 1
            if calls <= EAGER_STEPS or self._make is None:
                return graph.eager(lambda: step(inputs, labels))
            if captured is None:
                captured = self._capture(graph, step, inputs, labels)
            if captured is None or captured[0].shape != inputs.shape:
                return graph.eager(lambda: step(inputs, labels))
            own_inputs, own_labels, loss = captured
            own_inputs.copy_(inputs, non_blocking=True)
            own_labels.copy_(labels, non_blocking=True)
            graph.replay()
            return loss.clone()

        return run

    def _capture(
        self, graph: Graph, step: Step, inputs: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return the inputs and labels that a replay reads, and the loss that it leaves."""
        shapes = inputs.shape, inputs.stride(), inputs.dtype, labels.shape, labels.dtype
        if shapes not in self._read:
            self._read[shapes] = inputs.clone(), labels.clone()
        own_inputs, own_labels = self._read[shapes]
        try:
            loss = graph.capture(lambda: step(own_inputs, own_labels))
        except RuntimeError as error:
            logger.warning("training steps run without CUDA graphs: %s", str(error).splitlines()[0])
            self._make = None
            return None
        return own_inputs, own_labels, loss

"""Captures: a training step recorded once and replayed, for devices that wait for the processor.

A small network's step is hundreds of short kernels, and launching them takes longer than running
them. Where the same network is trained on equal batches over and over (a path of a supernet, a
whole epoch), its step is captured as a CUDA graph and launched as one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Captures", "CudaGraph", "Graph"]

logger = logging.getLogger(__name__)

Step = Callable[[Tensor, Tensor], Tensor]

EAGER_STEPS = 3  # before the capture: they allocate what the step needs, momentum among it


class Graph(Protocol):
    """Records what a function does on the device, and does it again."""

    def eager(self, call: Callable[[], Tensor]) -> Tensor:
        """Return what the call gives, run in the way that a later capture needs."""

    def capture(self, call: Callable[[], Tensor]) -> Tensor:
        """Record the call without running it; return where each replay leaves its result."""

    def replay(self) -> None:
        """Run what was recorded."""


class CudaGraph:
    """A graph of a CUDA device; replaced by every capture, in the memory of the one before."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graph: torch.cuda.CUDAGraph | None = None
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def eager(self, call: Callable[[], Tensor]) -> Tensor:
        """Run the call on the stream of captures, between what comes before and after."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            result = call()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        return result

    def capture(self, call: Callable[[], Tensor]) -> Tensor:
        """Record the call; see :class:`Graph`."""
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=self._pool, stream=self._stream):
            return call()

    def replay(self) -> None:
        """Launch the recorded call on the current stream."""
        assert self._graph is not None
        self._graph.replay()


class Captures:
    """Makes steps ``(inputs, labels) -> loss`` that are captured and replayed where they can be.

    Args:
        graph: what records them, one at a time; None leaves all steps as they are.
    """

    def __init__(self, graph: Graph | None) -> None:
        self._graph = graph

    @classmethod
    def on(cls, device: torch.device) -> Captures:
        """Return those of a device: with CUDA graphs on CUDA, none elsewhere."""
        return cls(CudaGraph(device) if device.type == "cuda" else None)

    def step(self, step: Step) -> Step:
        """Return a step that does the same.

        Its first calls run as they are, the next is captured, and replayed for every batch of
        the same shapes; others run as they are. Where the device refuses, all do, and a warning
        says so once.

        Args:
            step: trains on one batch; it neither waits for the device nor depends on anything
                but the tensors it was made for and its arguments.
        """
        if self._graph is None:
            return step
        graph = self._graph
        calls = 0
        captured: tuple[Tensor, Tensor, Tensor] | None = None

        def run(inputs: Tensor, labels: Tensor) -> Tensor:
            nonlocal calls, captured
            calls += 1
            if calls <= EAGER_STEPS or self._graph is None:
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
        own_inputs, own_labels = inputs.clone(), labels.clone()
        try:
            loss = graph.capture(lambda: step(own_inputs, own_labels))
        except RuntimeError as error:
            logger.warning("steps are not captured: %s", str(error).splitlines()[0])
            self._graph = None
            return None
        return own_inputs, own_labels, loss

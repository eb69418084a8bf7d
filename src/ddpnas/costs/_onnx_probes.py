"""ONNX files of what is timed: every distinct unit, and some whole networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from ddpnas.costs._latency_plan import LatencyPlan, Probe
from ddpnas.costs._units import CostUnit
from ddpnas.errors import ExportError
from ddpnas.space.search_space import SearchSpace
from ddpnas.utils.files import writable, write_atomic
from ddpnas.utils.onnx import need_onnx, quiet

__all__ = ["export_probes"]


def export_probes(
    space: SearchSpace,
    plan: LatencyPlan,
    batch: int,
    folder: Path,
    on_progress: Callable[[int, int], object] | None = None,
) -> None:
    """Write NAME.onnx of everything in the plan; existing files stay.

    A unit's slots are inputs of its file (what they return) and outputs (what they are given), so
    that everything is computed.

    Args:
        space: The space of the plan.
        plan: The parts and networks to time.
        batch: Number of inputs at once.
        folder: Created if it is missing.
        on_progress: Called with the number of files written so far and their total.

    Raises:
        OptionError: A package is missing.
        ExportError: torch cannot translate one of them.
    """
    need_onnx("onnx", "onnxscript")
    opened = space.opened()
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for i, probe in enumerate(plan.probes.values(), 1):
            path = folder / f"{probe.name}.onnx"
            if not path.exists():
                module, inputs = _prepared(space, opened, probe, batch)
                program = _exported(module, inputs)
                write_atomic(path, program.model_proto.SerializeToString())
            if on_progress is not None:
                on_progress(i, len(plan.probes))


def _exported(module: nn.Module, inputs: tuple[Tensor, ...]) -> torch.onnx.ONNXProgram:
    with quiet():
        try:
            program = torch.onnx.export(module.eval(), inputs, dynamo=True, verbose=False)
        except torch.onnx.OnnxExporterError as error:
            cause = " ".join(str(error.__cause__ or error).split())
            raise ExportError(f"torch cannot write this space as ONNX: {cause}") from error
    assert program is not None
    return program


def _prepared(
    space: SearchSpace, opened: nn.Module, probe: Probe, batch: int
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return a module and its inputs, all tensors."""
    if probe.architecture is not None:
        example = torch.zeros(batch, *space.input_shape, dtype=space.input_dtype)
        return space.build(probe.architecture), (example,)
    if probe.unit is None:
        return nn.Identity(), (torch.zeros(1),)
    module = _UnitModule(opened, probe.unit, probe.outputs())
    return module, module.example()


class _UnitModule(nn.Module):
    """A unit as a function of tensors: its inputs and what its slots return, one after another.

    Returns its output and what its choices are given.
    """

    def __init__(self, opened: nn.Module, unit: CostUnit, outputs: Sequence[Any]) -> None:
        super().__init__()
        self.module = opened.get_submodule(unit.path)
        self._choices = {s.path: opened.get_submodule(s.path) for s in unit.slots}
        self._paths = [slot.path for slot in unit.slots]
        self._flat, self._structure = tree_flatten((unit.inputs, list(outputs)))

    def example(self) -> tuple[Tensor, ...]:
        """Return zeros for every tensor."""
        return tuple(
            torch.zeros(t.shape, dtype=t.dtype) for t in self._flat if isinstance(t, Tensor)
        )

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        """Return the tensors in the output, and those that the choices are given."""
        rest = iter(tensors)
        flat = [next(rest) if isinstance(value, Tensor) else value for value in self._flat]
        (args, kwargs), outputs = tree_unflatten(flat, self._structure)
        given: list[Any] = []
        queues: dict[str, list[Any]] = {}
        for path, output in zip(self._paths, outputs, strict=True):
            queues.setdefault(path, []).append(output)

        def fill(path: str) -> Callable[..., Any]:
            def forward(*args: Any, **kwargs: Any) -> Any:
                given.append((args, kwargs))
                return queues[path].pop(0)

            return forward

        for path, choice in self._choices.items():
            choice.forward = fill(path)
        result = self.module(*args, **kwargs)
        # Everything that was computed has to be an output, or the exporter would leave it out.
        # An input that is passed on was not computed.
        known = {id(tensor) for tensor in tensors}
        found = {id(t): t for t in tree_leaves((result, given)) if isinstance(t, Tensor)}
        return [tensor for name, tensor in found.items() if name not in known]

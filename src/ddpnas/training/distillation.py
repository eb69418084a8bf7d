"""Distillation: a trained network, the teacher, gives the network in training more to learn from.

Hinton, Vinyals and Dean, arXiv 1503.02531. Beside the labels, the network learns the teacher's
probabilities of all classes, softened by a temperature.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.data.preprocessing import Preprocessing
from ddpnas.errors import OptionError, reason_of
from ddpnas.space.copies import copied
from ddpnas.training.out_of_memory import is_out_of_memory
from ddpnas.training.pretrained import OpenedNetwork, open_network, refuse_own_code

__all__ = ["Teacher", "as_teacher", "distillation_loss"]

TEMPERATURE = 2.0
WEIGHT = 0.5  # of the teacher's part of the loss; the labels have the rest


@dataclass(frozen=True)
class Teacher:
    """A network that is asked and not trained: inputs of the student to logits.

    Args:
        model: In evaluation mode, on the device of the inputs.
        identity: Name and hash of the weights, by which a resumed training knows it.
        scale: Factor that turns the student's inputs into the teacher's, (1, channels, 1, 1); None
            where both are normalized alike.
        shift: Added after that.

    Example:
        >>> teacher = Teacher(nn.Linear(4, 2).eval(), "mine")
        >>> teacher(torch.zeros(3, 4)).requires_grad
        False
    """

    model: nn.Module
    identity: str
    scale: Tensor | None = None
    shift: Tensor | None = None

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the logits of a batch, without gradients."""
        with torch.no_grad():
            if self.scale is not None and self.shift is not None:
                inputs = inputs * self.scale + self.shift
            logits: Tensor = self.model(inputs)
        return logits


def distillation_loss(logits: Tensor, taught: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return how far the student's softened probabilities are from the teacher's.

    This is T^2 KL(softmax(taught / T), softmax(logits / T)), averaged over the batch; the factor
    keeps its gradients as large as those of the labels. timm's ``LogitDistillationTask`` computes
    the same.

    Args:
        logits: The student's, (N, classes).
        taught: The teacher's, (N, classes).
        temperature: T.

    Raises:
        OptionError: The shapes differ.

    Example:
        >>> float(distillation_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])))
        0.0
    """
    if logits.shape != taught.shape:
        raise OptionError(
            f"the teacher has outputs of shape {tuple(taught.shape)} for a batch, the network "
            f"{tuple(logits.shape)}; give a teacher of the same classes"
        )
    student, teacher = (
        functional.log_softmax(one / temperature, dim=1) for one in (logits, taught)
    )
    gap = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return temperature**2 * gap


def as_teacher(
    given: str | Path | nn.Module | OpenedNetwork, data: Data, device: torch.device
) -> Teacher:
    """Return a teacher for a training on these data.

    Args:
        given: A name for :func:`ddpnas.open_network`, what that returned, or a network that takes
            the inputs as the trained one does.
        data: Data of the training.
        device: Device of the training.

    Raises:
        OptionError: There is no such network, it does not know the classes of the data, or it
            fails on its inputs.
    """
    if isinstance(given, nn.Module):
        given = OpenedNetwork(given, type(given).__name__)
    elif not isinstance(given, OpenedNetwork):
        refuse_own_code(given, "--teacher", weights=False)
        given = open_network(given, num_classes=len(data.classes), input_shape=data.input_shape)
    if given.new_head is not None:
        raise OptionError(
            f"the teacher {given.name} does not know the {len(data.classes)} classes of "
            f"{data.name}; fine-tune it first (ddpnas train --start {shlex.quote(given.name)} "
            f"--data ...) and give the folder of the result as teacher"
        )
    if given.classes and given.classes != data.classes:
        raise OptionError(
            f"the teacher {given.name} knows the classes {', '.join(given.classes)}; those of "
            f"{data.name} are {', '.join(data.classes)}"
        )
    scale, shift = _from_student(given.preprocessing, data, device)
    model = copied(given.model).to(device).eval()
    teacher = Teacher(model, f"{Path(given.name).name} {given.fingerprint()}", scale, shift)
    [(one, _)] = Loader(data, [data.train.subset([0])], device).eval_batches(1)
    try:
        teacher(one)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        shape = "x".join(map(str, data.input_shape))
        raise OptionError(
            f"the teacher {given.name} fails on inputs of shape {shape}, those of {data.name}: "
            f"{reason_of(error)}; give one that takes them"
        ) from error
    return teacher


def _from_student(
    own: Preprocessing | None, data: Data, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """Return (scale, shift) between the two normalizations; None where there is nothing to do."""
    if own is None or not own.mean or not data.mean or (own.mean, own.std) == (data.mean, data.std):
        return None, None
    mean, std, own_mean, own_std = (
        torch.tensor(values, device=device).view(1, -1, 1, 1)
        for values in (data.mean, data.std, own.mean, own.std)
    )
    return std / own_std, (mean - own_mean) / own_std

"""RMIEvaluator: train each architecture on one batch, and compare its features with a teacher's.

Notation.  X_s  (n, p)  features of the network behind stage s for the n images of the batch,
                        each column centered
           Y_s  (n, q)  the same of the teacher
           a            weight of the features

    CKA_s = |X_s' Y_s|^2 / (|X_s' X_s| |Y_s' Y_s|)            in Frobenius norms
    loss  = 3 a mean over s of (1 - CKA_s) + (1 - a) cross-entropy
    score = -loss in the last step

Zheng et al., "Neural Architecture Search with Representation Mutual Information", CVPR 2022; linear
CKA is that of Kornblith et al., ICML 2019, arXiv 1905.00414. Norms are computed from n x n
matrices, since |X' Y|^2 is the inner product of X X' and Y Y'. Departures: the images of the batch
are drawn at random, as the authors' code does; momentum is ours. The mean is over those of the last
three stages that network and teacher both have. Of three it gives the published sum. A sum of fewer
would be smaller, so that networks without a stage would seem better.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpnas.data.augment import Augmentation
from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.errors import DivergedError, OptionError
from ddpnas.evaluators.base import BaseEvaluator, Evaluation
from ddpnas.evaluators.stage_features import StageFeatures
from ddpnas.space.decisions import Architecture
from ddpnas.space.outputs import main_output
from ddpnas.space.search_space import SearchSpace
from ddpnas.training.device import pick_device, place
from ddpnas.training.distillation import as_teacher
from ddpnas.training.metrics import confusion
from ddpnas.training.pretrained import OpenedNetwork
from ddpnas.utils.seeds import seeded
from ddpnas.utils.settings import Count, Decay, LearningRate, Momentum, checked_fields
from ddpnas.utils.shapes import Share

__all__ = ["RMIConfig", "RMIEvaluator", "linear_cka"]

_STAGES = 3


@dataclass(frozen=True)
class RMIConfig:
    """How each candidate is trained on one batch, next to a teacher.

    Args:
        teacher: A network trained on the same classes, for :func:`ddpnas.open_network`: the folder
            of a trained network, "timm:NAME", ...
        images: Images of the batch.
        steps: Steps of SGD, each on the whole batch.
        lr: Learning rate. RMI-NAS has 0.025 and 250 steps in the space of DARTS.
        momentum: Momentum.
        weight_decay: Weight decay.
        cka_weight: Weight a of the features in the loss; the labels have the rest.

    Raises:
        OptionError: A value out of range.

    Example:
        >>> RMIConfig(teacher="timm:resnet18", steps=50).images
        512
    """

    teacher: str | None = None
    images: Count = 512
    steps: Count = 150
    lr: LearningRate = 0.1
    momentum: Momentum = 0.9
    weight_decay: Decay = 5e-4
    cka_weight: Share = 0.8

    def __post_init__(self) -> None:
        checked_fields(self, "evaluator 'rmi'")


class RMIEvaluator(BaseEvaluator):
    """Trains an architecture on one batch next to a teacher, then compares their features.

    All networks start from the same seed and see the same batch, so a score depends on nothing that
    came before.

    Args:
        space: Builds the networks.
        data: Its training split gives the batch. Its validation split gives the accuracy, which is
            shown and does not count.
        config: How each network is trained.
        seed: Seed for initial weights and the choice of images.
        device: "auto", "cpu", "cuda", ...
        teacher: A network or what :func:`ddpnas.open_network` returned, in place of its name.

    Raises:
        OptionError: There is no teacher, it does not know the classes, or it has no stages.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.load_data("sign-digits-small", limit_train_images=50)
        >>> space = ddpnas.create_space("toy", num_classes=10, input_shape=data.input_shape)
        >>> teacher = space.build(space.decode([2] * 4))  # a trained one, in earnest
        >>> config = RMIConfig(images=20, steps=2)
        >>> evaluator = RMIEvaluator(space, data, config, device="cpu", teacher=teacher)
        >>> [found] = evaluator.evaluate([space.decode([0] * 4)])
        >>> 0 <= found.details["cka"] <= 1
        True
    """

    lasting = True

    def __init__(
        self,
        space: SearchSpace,
        data: Data,
        config: RMIConfig | None = None,
        *,
        seed: int = 0,
        device: str = "auto",
        teacher: nn.Module | OpenedNetwork | None = None,
    ) -> None:
        self.config = config or RMIConfig()
        given = teacher if teacher is not None else self.config.teacher
        if given is None:
            raise OptionError(
                "the evaluator rmi needs a teacher, a network trained on the same classes; train "
                "one (ddpnas train --start timm:resnet18 --data DATA --out teacher) and give "
                "--evaluator-options.teacher teacher"
            )
        self.device = pick_device(device)
        self._space, self._seed, self._classes = space, seed, len(data.classes)
        plain = Augmentation(crop="none", flip=False)
        train = Loader(data, [data.train], self.device, augmentation=plain)
        self._valid = Loader(data, [data.valid], self.device)
        self._inputs, self._labels = next(train.train_batches(self.config.images, seed))
        teaching = as_teacher(given, data, self.device)
        self._teacher = teaching.identity
        with StageFeatures(teaching.model, teaching, self._inputs[:2]) as features:
            teaching(self._inputs)
            self._taught = [_gram(one) for one in features.last(_STAGES)]
        if not self._taught:
            raise OptionError(
                f"the teacher {self._teacher} gives no feature maps, which the evaluator rmi "
                f"compares; give a convolutional network"
            )

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Yield the negative loss after training each architecture on the batch, in order.

        One whose training diverges scores NaN.

        Details: ``loss``, ``cka`` (mean over the stages) and ``cross_entropy`` in the last step,
        ``accuracy`` on the validation split, ``train_images`` (over all steps), ``train_seconds``
        and ``valid_seconds``.

        Raises:
            OptionError: A network gives no feature maps.
        """
        for architecture in architectures:
            yield self._evaluate(architecture)

    def _evaluate(self, architecture: Architecture) -> Evaluation:
        started = time.perf_counter()
        config = self.config
        with seeded(self._seed):
            network = place(self._space.build(architecture, path=True), self.device)
            with StageFeatures(network, network, self._inputs[:2]) as features:
                network.train()
                optimizer = torch.optim.SGD(
                    network.parameters(),
                    lr=config.lr,
                    momentum=config.momentum,
                    weight_decay=config.weight_decay,
                )
                for _ in range(config.steps):
                    optimizer.zero_grad(set_to_none=True)
                    outputs = main_output(network(self._inputs))
                    cross_entropy = functional.cross_entropy(outputs, self._labels)
                    cka = self._cka(features.last(_STAGES))
                    loss = config.cka_weight * _STAGES * (1 - cka).mean()
                    loss = loss + (1 - config.cka_weight) * cross_entropy
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        trained = time.perf_counter()
        effort = {
            "train_images": config.steps * len(self._labels),
            "train_seconds": trained - started,
        }
        loss, cka, cross_entropy = loss.detach(), cka.detach(), cross_entropy.detach()
        if not torch.isfinite(loss):
            return Evaluation(math.nan, {"accuracy": 0.0, **effort})
        try:
            counts = confusion(network.eval(), self._valid.eval_batches(500), self._classes)
        except DivergedError:
            return Evaluation(math.nan, {"accuracy": 0.0, **effort})
        details = {
            "loss": float(loss),
            "cka": float(cka.mean()),
            "cross_entropy": float(cross_entropy),
            "accuracy": float(counts.trace() / counts.sum()),
            **effort,
            "valid_seconds": time.perf_counter() - trained,
        }
        return Evaluation(-float(loss), details)

    def _cka(self, features: list[Tensor]) -> Tensor:
        """Return the linear CKA of each of the last stages with that of the teacher."""
        if not features:
            raise OptionError(
                f"networks of space {self._space.name!r} give no feature maps, which the evaluator "
                f"rmi compares; use another evaluator"
            )
        pairs = zip(reversed(features), reversed(self._taught), strict=False)
        return torch.stack([(_gram(one) * taught).sum() for one, taught in pairs])

    def identity(self) -> dict[str, Any]:
        """Return what scores depend on: the teacher by a hash of its weights."""
        settings = dataclasses.asdict(self.config)
        return {**settings, "teacher": self._teacher, "threads": torch.get_num_threads()}


def linear_cka(one: Tensor, other: Tensor) -> Tensor:
    """Return how alike two representations of the same items are, from 0 to 1.

    It does not change when a representation is rotated or scaled (Kornblith et al., ICML 2019).

    Args:
        one: Features, (n, ...).
        other: Features of the same items, (n, ...), as many or not.

    Example:
        >>> x = torch.randn(8, 3)
        >>> round(linear_cka(x, 2 * x.flip(1)).item(), 4)
        1.0
    """
    return (_gram(one) * _gram(other)).sum()


def _gram(features: Tensor) -> Tensor:
    """Return X X' of centered features in units of its norm, (n, n)."""
    flat = features.float().flatten(1)
    flat = flat - flat.mean(dim=0)
    gram = flat @ flat.T
    unit: Tensor = gram / torch.linalg.matrix_norm(gram).clamp(min=torch.finfo(gram.dtype).tiny)
    return unit

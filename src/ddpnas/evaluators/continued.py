"""ContinuedEvaluator: train each architecture alone, and further whenever it is asked again.

A strategy that asks for the better half of a batch again gives it the next rung of a race
(``halving``). Weights are kept, so no epoch is paid for twice, and the winner's training goes on
from what it has. :mod:`ddpnas.training.plateau` says how they are trained.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import torch
from torch import Tensor, nn

from ddpnas.costs.count import count_costs
from ddpnas.costs.pace import Pace
from ddpnas.data.augment import Augmentation
from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import DivergedError, OptionError, nearest
from ddpnas.evaluators.base import BaseEvaluator, Evaluation
from ddpnas.evaluators.scoring import in_own_order
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.training.checkpoint import with_prefix, without_prefix
from ddpnas.training.device import pick_device
from ddpnas.training.metrics import balanced_weights
from ddpnas.training.plateau import PlateauTraining
from ddpnas.training.recipes import RECIPES, ClassWeights, Metric, create_recipe
from ddpnas.training.results import EvaluationResult
from ddpnas.utils.read import Whole, checked_content
from ddpnas.utils.seeds import seeded
from ddpnas.utils.settings import Count, LearningRate, checked_fields
from ddpnas.utils.shapes import Range

__all__ = ["ContinuedConfig", "ContinuedEvaluator"]


@dataclass(frozen=True)
class ContinuedConfig:
    """How far candidates are trained each time they are asked.

    Args:
        epochs: Passes over the training images when an architecture is asked for the first time;
            parts of a pass count, too.
        growth: Factor by which the total number of passes grows each time it is asked again.
        pace: What an epoch takes, see :class:`ddpnas.costs.pace.Pace`. With it, ``epochs`` are
            those of a network that takes a second an epoch, and others get fewer or more, so that
            all train for about the same time.
        recipe: How each network is trained, one of `ddpnas recipes`; its schedule is not used.
        lr: The constant learning rate; None is half of the highest one of the recipe.
        batch_size: Images a step; None is that of the recipe.
        metric: The score: validation accuracy, or macro-F1 for classes of unequal size.
        class_weights: "balanced" gives each class the same weight in the loss.

    Raises:
        OptionError: A value out of range, or an unknown recipe.

    Example:
        >>> config = ContinuedConfig(epochs=2, pace={"macs": 1e-6})
        >>> [config.epochs_at(before, {"macs": 500_000}) for before in range(3)]
        [4.0, 8.0, 16.0]
    """

    epochs: Annotated[float, Range(above=0, most=100_000)] = 1.0
    growth: Annotated[float, Range(1, 100)] = 2.0
    pace: dict[str, Annotated[float, Range(0)]] | None = None
    recipe: str = "quick"
    lr: LearningRate | None = None
    batch_size: Count | None = None
    metric: Metric = "accuracy"
    class_weights: ClassWeights = "none"

    def __post_init__(self) -> None:
        checked_fields(self, "evaluator 'continued'")
        if self.recipe not in RECIPES:
            raise OptionError(nearest("recipe", self.recipe, RECIPES))

    def epochs_at(self, before: int, costs: Mapping[str, float]) -> float:
        """Return the epochs in all of an architecture.

        Args:
            before: How often it was asked before.
            costs: Its counted costs.
        """
        seconds = 1.0 if self.pace is None else Pace(self.pace).of(costs)
        return self.epochs * self.growth**before / seconds


class _StateForm(TypedDict):
    """What a checkpoint holds of each candidate, in the order of the tensors' prefixes."""

    candidates: list[_CandidateForm]
    left: Whole  # of the present batch


class _CandidateForm(TypedDict):
    architecture: dict[str, str]
    asked: Annotated[int, Range(1, 64)]
    training: dict[str, Any] | None  # None: it diverged


@dataclass
class _Candidate:
    training: PlateauTraining | None  # None once it diverged: nothing of it can be used
    asked: int = 0  # how often


class ContinuedEvaluator(BaseEvaluator):
    """Trains an architecture further each time it is asked, then scores it.

    All networks start from the same seed and see the same images in the same order. The weights of
    architectures that are not asked for again are dropped.

    Args:
        space: Builds the networks.
        data: Its training split trains, its validation split scores. Test images are not used.
        config: How far each is trained; None is the default :class:`ContinuedConfig`.
        seed: Seed for initial weights, shuffling and augmentation.
        device: "auto", "cpu", "cuda", ...
        sieve: Which training images are read: all, or random ones, the same for all networks; None
            is all. All validation images score.

    Raises:
        OptionError: The sieve is another one.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.load_data("sign-digits-small", limit_train_images=50)
        >>> space = ddpnas.create_space("toy", num_classes=10, input_shape=data.input_shape)
        >>> evaluator = ContinuedEvaluator(space, data, device="cpu")
        >>> one = space.decode([0] * len(space.decisions))
        >>> [next(evaluator.evaluate([one])).details["epochs"] for _ in range(3)]
        [1.0, 2.0, 4.0]
    """

    def __init__(
        self,
        space: SearchSpace,
        data: Data,
        config: ContinuedConfig | None = None,
        *,
        seed: int = 0,
        device: str = "auto",
        sieve: SieveConfig | None = None,
    ) -> None:
        self.config = config or ContinuedConfig()
        self._sieve = sieve or SieveConfig()
        if self._sieve.observes or self._sieve.valid_keep < 1:
            raise OptionError(
                f"the evaluator continued cannot run sieve {self._sieve.name!r} with these "
                f"options: it trains networks without knowing for how many epochs, and scores on "
                f"all validation images; use --sieve random, or the evaluator supernet"
            )
        self._space, self._seed = space, seed
        self._classes = len(data.classes)
        recipe = create_recipe(self.config.recipe)
        lr, batch_size = self.config.lr, self.config.batch_size
        self.recipe = create_recipe(
            recipe,
            lr=recipe.lr / 2 if lr is None else lr,
            **({} if batch_size is None else {"batch_size": batch_size}),
        )
        augmentation = Augmentation(
            recipe.crop, data.flip, recipe.policy, recipe.cutout, recipe.erase
        )
        used = pick_device(device)
        self._train = Loader(data, [data.train], used, augmentation=augmentation)
        self._train.sieve = self._sieve.of_rest(self._train.labels, seed)
        balanced = self.config.class_weights == "balanced"
        self._weights = (
            balanced_weights(data.train.labels, self._classes).to(used) if balanced else None
        )
        self._valid = Loader(data, [in_own_order(data.valid)], used)
        pace = self.config.pace or {}
        counted = count_costs(space) if pace else {}
        Pace(pace).table(counted)  # or an error: it names a cost that is not counted
        self._costs = {name: counted[name] for name in pace if name}
        self._candidates: dict[Architecture, _Candidate] = {}
        self._left = 0  # architectures of the present batch that were not trained yet

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Train each architecture further and yield its validation score, in order.

        One whose training diverges scores NaN.

        Details: ``accuracy`` and ``macro_f1`` (fractions), ``loss`` in the last epoch, ``epochs``
        in all, ``train_images`` (in these epochs), ``train_seconds`` and ``valid_seconds``.
        """
        if not self._left:  # otherwise this is the rest of a batch, after an interruption
            self._drop_others(architectures)
        for number, one in enumerate(architectures, start=1):
            found = self._continue(one)
            self._left = len(architectures) - number
            yield found

    def _drop_others(self, architectures: Sequence[Architecture]) -> None:
        """Drop candidates that are not in this batch and were not trained longer than all of it."""
        asked = {one: self._candidates.get(one) for one in architectures}
        before = min((c.asked if c else 0 for c in asked.values()), default=0)
        for one, candidate in [*self._candidates.items()]:
            if one not in asked and candidate.asked <= before:
                del self._candidates[one]

    def _continue(self, architecture: Architecture) -> Evaluation:
        begun = time.perf_counter()
        candidate = self._candidates.get(architecture)
        if candidate is None:
            candidate = self._candidates[architecture] = _Candidate(self._started(architecture))
        training = candidate.training
        costs = {name: table.cost(architecture) for name, table in self._costs.items()}
        if training is None:
            reached = self.config.epochs_at(candidate.asked - 1, costs)
            candidate.asked += 1
            return _diverged({"epochs": reached, "train_images": 0.0})
        epochs = self.config.epochs_at(candidate.asked, costs)
        steps = max(1, round(epochs * training.steps_an_epoch) - training.steps)
        candidate.asked += 1
        details = {
            "epochs": epochs,
            "train_images": steps * len(self._train) / training.steps_an_epoch,
        }
        try:
            loss = training.train(steps)
        except DivergedError:
            candidate.training = None
            return _diverged(details)
        trained = time.perf_counter()
        found = self._scored(candidate)
        details |= {
            **found.details,
            "loss": loss,
            "train_seconds": trained - begun,
            "valid_seconds": time.perf_counter() - trained,
        }
        return Evaluation(found.score, details)

    def _scored(self, candidate: _Candidate) -> Evaluation:
        if candidate.training is None:
            return _diverged({})
        try:
            counts = candidate.training.confusion(self._valid, self._classes)
        except DivergedError:  # by its last step
            candidate.training = None
            return _diverged({})
        result = EvaluationResult("", "valid", int(counts.sum()), counts.tolist())
        scores = {"accuracy": result.accuracy, "macro_f1": result.macro_f1}
        return Evaluation(result.score(self.config.metric), scores)

    def _started(self, architecture: Architecture) -> PlateauTraining:
        with seeded(self._seed):
            network = self._space.build(architecture, path=True)
        return PlateauTraining(network, self.recipe, self._train, self._seed, self._weights)

    def network(self, architecture: Architecture) -> nn.Module:
        """Return the network of an architecture with the weights of its training so far.

        Raises:
            OptionError: It was not trained, its training diverged, or its weights were dropped.
        """
        training = self._known(architecture).training
        if training is None:
            raise OptionError(
                "the training of this network diverged, so it has no weights; take another one, or "
                "search again with a lower lr"
            )
        return training.model

    def _known(self, architecture: Architecture) -> _Candidate:
        if architecture not in self._candidates:
            raise OptionError(
                "each network of this search was trained alone, and this one was not among the "
                "last of them, so it has no weights; generate it without --rescore, then train it"
            )
        return self._candidates[architecture]

    def rescore(self, architectures: Sequence[Architecture]) -> list[Evaluation]:
        """Return the score of each architecture as far as it was trained.

        Raises:
            OptionError: The weights of one of them were dropped, or it was not trained.
        """
        candidates = [self._known(one) for one in architectures]
        return [self._scored(candidate) for candidate in candidates]

    def identity(self) -> dict[str, Any]:
        """Return what scores depend on."""
        config = self.config
        return {
            "epochs": config.epochs,
            "growth": config.growth,
            "pace": config.pace,
            "recipe": config.recipe,
            "lr": self.recipe.lr,
            "batch_size": self.recipe.batch_size,
            "metric": config.metric,
            "class_weights": config.class_weights,
            "threads": torch.get_num_threads(),
            **self._sieve.identity(),
        }

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the trainings of the candidates that are left."""
        tensors: dict[str, Tensor] = {}
        candidates = []
        for number, (one, candidate) in enumerate(self._candidates.items()):
            plain = None
            if candidate.training is not None:
                found, plain = candidate.training.state_dict()
                tensors |= with_prefix(str(number), found)
            kept = {"architecture": dict(one), "asked": candidate.asked, "training": plain}
            candidates.append(kept)
        return tensors, {"candidates": candidates, "left": self._left}

    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        state = checked_content(plain, _StateForm, "the state of the evaluator")
        self._candidates, self._left = {}, state["left"]
        for number, kept in enumerate(state["candidates"]):
            one = self._space.check(kept["architecture"], path=True)
            training = None
            if kept["training"] is not None:
                training = self._started(one)
                training.load_state_dict(without_prefix(str(number), tensors), kept["training"])
            self._candidates[one] = _Candidate(training, kept["asked"])


def _diverged(details: Mapping[str, float]) -> Evaluation:
    """Return the evaluation of a network whose training or answers are not numbers."""
    return Evaluation(math.nan, {"accuracy": 0.0, "macro_f1": 0.0, **details})

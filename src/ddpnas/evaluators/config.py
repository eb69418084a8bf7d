"""SupernetConfig: how the weights that all paths share are trained and scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ddpnas.errors import OptionError
from ddpnas.utils.settings import Count, Decay, LearningRate, Momentum, Norm, checked_fields
from ddpnas.utils.shapes import Range, Share

__all__ = ["SupernetConfig"]

# An option that sees an image at most this often does not overfit it (records/weight-sharing.md).
_VIEWS_WITHOUT_OVERFITTING = 20


@dataclass(frozen=True)
class SupernetConfig:
    """How the shared weights are trained, and how paths are scored with them.

    The defaults did best on real images. ``SupernetConfig(training="path")`` is the published way.

    Args:
        training: "fair" (every step trains each option of each decision once, in disjoint paths),
            "uniform" (one random path a step), "sandwich" (for sizes, that is widths and options
            that are numbers, such as depths: the largest network, the smallest and two random ones
            on the same images, all but the largest with its outputs as targets) or "path" (the
            paper's: each architecture is trained for an epoch before its score).
        warmup_epochs: Passes over the training images before the first score, over all options
            alike; there are none with "path". Each costs as much as a pass over one path, with
            "sandwich" over four. None is 16 for each option of the longest decision, because a
            pass divides the images among them. Small sets get more: as many as make 2,500 steps,
            but at most 300. With "sandwich" it is a quarter of that.
        seconds: Seconds of the whole search, in place of ``warmup_epochs``: :func:`ddpnas.search`
            measures a pass and a score, and takes as many passes as leave time for the scores.
            The run keeps their number. Not with "path".
        phases: With "sandwich", progressive shrinking as in Once-for-All: words in the names of
            decisions about sizes. The warm-up has a first part, in which all of these decisions
            stay at their largest, and another part of the same length for each word, which opens
            the decisions with this word. Before widths open, the most important channels are sorted
            to the front. Other decisions are open throughout.
        score: "accuracy" (a fraction) or "loss" (the negative mean cross-entropy). None is
            "accuracy" with "path" and "loss" otherwise.
        proxy_weight: Weight of zero-cost proxies, which score the untrained network (NASWOT and
            synflow, half each), from 0 to 1. The rest is the weight of the shared weights' score.
            None is 0 with "path" and 0.5 otherwise. Above 0, all are in standard deviations over
            the first batch of architectures or over random ones (more than 3 worse counts as 3),
            so such scores only serve to compare architectures. Not with "path".
        augment: Shift training images, and mirror them if the data allows. None is yes with "path".
            Otherwise it is yes if the warm-up has more than 20 passes for each option of the
            longest decision: an option that sees an image more rarely does not overfit it.
        batch_size: Images in a path's training step (a fair step has as many for each of its
            paths). None is 128, and less for sets so small that an epoch would have few steps.
        eval_batch_size: Images in a validation step, at most. BatchNorm uses their statistics, so
            no step has fewer than 256 because of it.
        lr: First learning rate of SGD. With "path" it falls along a cosine over all epochs of the
            search, otherwise over the warm-up, so that scores come from settled weights.
        lr_min: Last learning rate.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of the parameters of the trained paths.
        clip: Largest norm of the gradient of a step; 0 does not clip.
        shared_gradients: Gradients of weights that several paths of a fair step use, such as the
            stem: their "sum", or their "mean", so that these weights learn no faster than options,
            which one path uses.
        mixed_precision: Precision of training steps and scores: "no" is float32; "bf16" pays off on
            GPUs made for it. On a processor without such instructions it is several times slower,
            with them it takes 0.9 to 1.2 times as long.
        cuda_graphs: On CUDA, record a step and replay it: otherwise small networks wait for the
            processor. So that steps repeat, the warm-up then trains 320 paths drawn in advance, all
            options equally often, instead of new paths at every step. It changes nothing elsewhere.

    Raises:
        OptionError: A value out of range, or options that contradict each other.

    Example:
        >>> SupernetConfig().score_by, SupernetConfig(training="path").score_by
        ('loss', 'accuracy')
    """

    training: Literal["fair", "uniform", "sandwich", "path"] = "fair"
    warmup_epochs: Annotated[int, Range(0, 100_000)] | None = None
    seconds: Annotated[float, Range(above=0, most=1e9)] | None = None
    phases: tuple[str, ...] = ()
    score: Literal["accuracy", "loss"] | None = None
    proxy_weight: Share | None = None
    augment: bool | None = None
    batch_size: Count | None = None
    eval_batch_size: Count = 500
    lr: LearningRate = 0.1
    lr_min: Annotated[float, Range(0, 1000)] = 1e-3
    momentum: Momentum = 0.9
    weight_decay: Decay = 3e-4
    clip: Norm = 5.0
    shared_gradients: Literal["sum", "mean"] = "sum"
    mixed_precision: Literal["no", "bf16"] = "no"
    cuda_graphs: bool = True

    def __post_init__(self) -> None:
        checked_fields(self, "evaluator 'supernet'")
        if self.weight_of_proxies > 0 and self.training == "path":
            raise OptionError(
                "proxy_weight needs scores that come from the same weights: use training fair or "
                "uniform"
            )
        if self.seconds is not None and self.training == "path":
            raise OptionError(
                "seconds say how long the warm-up is, and training 'path' has none; use training "
                "fair or uniform, or shorten the strategy"
            )
        if self.seconds is not None and self.warmup_epochs is not None:
            raise OptionError(
                "give seconds or warmup_epochs, not both: seconds are turned into warmup_epochs"
            )
        if self.phases and self.training != "sandwich":
            raise OptionError(
                f"phases belong to training 'sandwich', not {self.training!r}; use training "
                f"sandwich, or leave phases out"
            )

    @property
    def score_by(self) -> Literal["accuracy", "loss"]:
        """The score of the shared weights, with the default of ``score`` resolved."""
        if self.score is None:
            return "accuracy" if self.training == "path" else "loss"
        return self.score

    def augmented(self, views: float) -> bool:
        """Return whether training images are augmented, with the default of ``augment`` resolved.

        Args:
            views: How often an option sees an image before the first score.
        """
        if self.augment is None:
            return self.training == "path" or views > _VIEWS_WITHOUT_OVERFITTING
        return self.augment

    @property
    def weight_of_proxies(self) -> float:
        """The weight of the zero-cost proxies, with the default of ``proxy_weight`` resolved."""
        if self.proxy_weight is None:
            return 0.0 if self.training == "path" else 0.5
        return self.proxy_weight

"""SupernetConfig: how the weights that all paths share are trained and scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ddpnas.errors import OptionError, nearest

__all__ = ["SupernetConfig"]

TRAININGS = ("fair", "uniform", "path")
SCORES = ("accuracy", "loss")
PRECISIONS = ("no", "bf16")
SHARED_GRADIENTS = ("sum", "mean")
_VIEWS = 20  # of an image by an option, up to which it is not learned by heart


@dataclass(frozen=True)
class SupernetConfig:
    """How the shared weights are trained, and how paths are scored with them.

    The defaults are what did best on real images; ``SupernetConfig(training="path")`` is as
    published.

    Args:
        training: "fair" (in every step each option of each decision once, in disjoint paths),
            "uniform" (one random path a step) or "path" (the paper's: each architecture an epoch
            before its score).
        warmup_epochs: passes over the training images before the first score, over all choices
            alike; with "path" there are none. Each costs what a pass over one path costs. None is
            16 for each option of the longest decision, since a pass divides the images among
            them, or for small sets more: as many as make 2,500 steps, but at most 300.
        epochs: passes before the scores of each batch, on the choices that occur in it; the
            first batch has the warm-up besides. With "path" it is always one pass a score.
        score: "accuracy" (a fraction), or "loss" (the negative mean cross-entropy); None is
            "accuracy" with "path" and "loss" otherwise.
        prior: weight of zero-cost proxies, scores of the untrained network (NASWOT and synflow
            alike), beside the score of the shared weights, from 0 to 1; None is 0 with "path" and
            0.5 otherwise. Above 0, both are in standard deviations of the first batch of
            architectures, or of random ones (what is more than 3 worse counts as 3), so that a
            score serves to compare them and nothing else. Not with "path", unless interleaved.
        augment: shift training images, and mirror them if the data allows. None is yes with "path",
            and otherwise if the warm-up has more than 20 passes for each option of the longest
            decision: an option that sees an image more rarely does not overfit it.
        batch_size: images of a path's training step (a fair step has as many for each of its
            paths); None is 128, and less for sets so small that an epoch would have few steps.
        eval_batch_size: images a validation step, at most; statistics are taken over them.
        lr: first learning rate of SGD. With "path" it falls along a cosine over all epochs of
            the search, otherwise over the passes before each batch of scores, so that scores
            come from settled weights.
        lr_min: last learning rate.
        momentum: of SGD.
        weight_decay: of the parameters of the trained paths.
        clip: largest norm of the gradient of a step, 0 for none.
        shared_gradients: of weights that several paths of a fair step use, such as the stem's:
            their gradients' "sum", or "mean", so that they learn no faster than options, which one
            path uses.
        interleave: with "path", train the architectures of a batch in turns, a step each,
            instead of an epoch each, and score them when all are trained, with the same weights.
        mixed_precision: of training steps and scores: "no" is float32, "bf16" pays on GPUs made for
            it (on a processor without such instructions it is several times slower, with them
            0.9 to 1.2 times the time).
        compile: backend of torch.compile for the options of choices, such as "inductor"; None
            does not compile. It needs a compiler and gained nothing on the processors tried.
        distinct_paths: so many different paths train the weights before a batch of scores, drawn
            at its beginning (all options are among them equally often); 0 draws new ones for every
            step. None is 320 where steps are recorded as CUDA graphs and 0 elsewhere. With
            "path" the architectures themselves are trained.
        cuda_graphs: on CUDA, record a step and replay it: small networks otherwise wait for the
            processor. Elsewhere it changes nothing.
    """

    training: Literal["fair", "uniform", "path"] = "fair"
    warmup_epochs: int | None = None
    epochs: int = 0
    score: Literal["accuracy", "loss"] | None = None
    prior: float | None = None
    augment: bool | None = None
    batch_size: int | None = None
    eval_batch_size: int = 500
    lr: float = 0.1
    lr_min: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float = 5.0
    shared_gradients: Literal["sum", "mean"] = "sum"
    interleave: bool = False
    mixed_precision: Literal["no", "bf16"] = "no"
    compile: str | None = None
    distinct_paths: int | None = None
    cuda_graphs: bool = True

    def __post_init__(self) -> None:
        if self.training not in TRAININGS:
            raise OptionError(nearest("training of the supernet", self.training, TRAININGS))
        if self.score is not None and self.score not in SCORES:
            raise OptionError(nearest("score of the supernet", self.score, SCORES))
        if self.mixed_precision not in PRECISIONS:
            raise OptionError(nearest("mixed precision", self.mixed_precision, PRECISIONS))
        if self.shared_gradients not in SHARED_GRADIENTS:
            known = SHARED_GRADIENTS
            raise OptionError(nearest("shared gradients", self.shared_gradients, known))
        sizes = (self.batch_size, self.eval_batch_size)
        if any(size is not None and size < 1 for size in sizes) or self.lr <= 0:
            raise OptionError("batch sizes are at least 1 and the learning rate is above 0")
        counts = (self.warmup_epochs, self.epochs, self.distinct_paths)
        if any(count is not None and count < 0 for count in counts):
            raise OptionError("warmup_epochs, epochs and distinct_paths are not negative")
        if not 0 <= self.prior_weight <= 1:
            raise OptionError(f"prior is from 0 to 1, not {self.prior}")
        if self.prior_weight > 0 and self.training == "path" and not self.interleave:
            raise OptionError(
                "a prior is weighed against scores of the same weights; use it with training fair "
                "or uniform, or interleave"
            )
        if self.interleave and self.training != "path":
            raise OptionError(
                f"interleave is a way of training paths; with training {self.training!r} every "
                f"step already has other paths, leave it out"
            )

    @property
    def score_by(self) -> Literal["accuracy", "loss"]:
        """What the score of the shared weights is, see ``score``."""
        if self.score is None:
            return "accuracy" if self.training == "path" else "loss"
        return self.score

    def augmented(self, views: float) -> bool:
        """Return whether training images are changed at random, see ``augment``.

        Args:
            views: how often an option sees an image before the first score.
        """
        if self.augment is None:
            return self.training == "path" or views > _VIEWS
        return self.augment

    @property
    def prior_weight(self) -> float:
        """The weight of the training-free score, see ``prior``."""
        if self.prior is None:
            return 0.0 if self.training == "path" else 0.5
        return self.prior

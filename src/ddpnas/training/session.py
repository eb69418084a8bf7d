"""Session: the state of one training, its epochs, and how it is kept and taken up again."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import logging
import re
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import torch
from torch import Tensor, nn

from ddpnas.data.augment import Augmentation
from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.data.sieve import Sieve
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import DivergedError, OptionError, RunError
from ddpnas.training._timm_parts import (
    DropPaths,
    average_decay,
    average_of,
    mix_of,
    optimizer_of,
    schedule_of,
)
from ddpnas.training.checkpoint import (
    CHECKPOINT,
    load_checkpoint,
    load_optimizer,
    optimizer_state,
    restoring,
    save_checkpoint,
    with_prefix,
    without_prefix,
)
from ddpnas.training.clock import Clock
from ddpnas.training.device import place
from ddpnas.training.distillation import Teacher
from ddpnas.training.distributed import Processes
from ddpnas.training.judge import Judge
from ddpnas.training.metrics import balanced_weights
from ddpnas.training.protections import (
    RETRY,
    first_steps,
    planned_epochs,
    refuse_sieve,
    trained_splits,
)
from ddpnas.training.recipes import Recipe
from ddpnas.training.results import TrainResult
from ddpnas.training.steps import TrainStep, train_epoch
from ddpnas.training.sync_norm import synchronize_norms
from ddpnas.utils.files import writable
from ddpnas.utils.options import refuse_differences
from ddpnas.utils.read import Measured, Whole, checked_content
from ddpnas.utils.seeds import seeded
from ddpnas.utils.shapes import Range

__all__ = ["Session", "evaluated_weights", "kept_halvings", "spent_seconds"]

logger = logging.getLogger(__name__)


class _SavedForm(TypedDict):
    """The plain data of every checkpoint."""

    identity: dict[str, Any]
    halvings: Annotated[int, Range(0, 64)]
    result: NotRequired[dict[str, Any]]  # of a training that was finished


class _SpentForm(TypedDict):
    """What a checkpoint and a result say alike."""

    seconds: Annotated[float, Range(0)]


class _ProgressForm(_SpentForm):
    """The plain data of a checkpoint between two epochs."""

    steps: Whole
    history: list[dict[str, Measured]]
    optimizer: dict[str, dict[str, Any]]
    scaler: dict[str, Any] | None


class Session:
    """One training, as this process takes part in it.

    Everything random in an epoch follows from the seed and the epoch's number, so that a training
    that was killed goes on from its last checkpoint as if nothing had happened.

    Args:
        processes: Processes that train together, this one with its device.
        model: Network; it is trained in place.
        data: Data to train and evaluate on.
        recipe: How the network is trained.
        seed: Seed for everything random.
        precision: "no", "bf16" or "fp16".
        folder: Folder for the checkpoints; None for none.
        seconds: What the training may take; None for any time.
        shortened: Epoch -> number of epochs from then on, instead of ``seconds``; with epoch 0 the
            training begins as one that starts again.
        teacher: Network to distil from, on the device of this process; None for none.
        halvings: How often the batch size of the recipe is halved, for want of memory.
        sieve: Which training images an epoch reads; None is all.

    Raises:
        OptionError: A batch cannot be shared by the processes, or the sieve cannot run.
    """

    def __init__(
        self,
        processes: Processes,
        model: nn.Module,
        data: Data,
        recipe: Recipe,
        *,
        seed: int,
        precision: str,
        folder: Path | None,
        seconds: float | None = None,
        shortened: Mapping[int, int] | None = None,
        teacher: Teacher | None = None,
        halvings: int = 0,
        sieve: SieveConfig | None = None,
    ) -> None:
        self.data, self.seed, self.folder = data, seed, folder
        self._network = _network_hash(model)  # as given: what follows may exchange layers
        self._processes, self._precision, self._teacher = processes, precision, teacher
        augmentation = Augmentation(
            recipe.crop, data.flip, recipe.policy, recipe.cutout, recipe.erase
        )
        self._train = Loader(
            data,
            trained_splits(data, recipe),
            processes.device,
            augmentation=augmentation,
            shard=processes.shard,
        )
        batch_size = self._train.batch_size(recipe.batch_size)
        self._whole, self._halvings = planned_epochs(recipe, data), halvings
        self._asked = dataclasses.replace(recipe, batch_size=batch_size, epochs=self._whole)
        batch_size = max(1, batch_size >> halvings)
        self.recipe = self._used = recipe = dataclasses.replace(self._asked, batch_size=batch_size)
        size = min(batch_size, len(self._train))
        if size % processes.size:
            raise OptionError(
                f"a batch of {size} images cannot be shared equally by {processes.size} "
                f"processes; give a batch_size that is a multiple of {processes.size}"
            )
        steps = self._train.steps(batch_size)
        mix = mix_of(recipe, len(data.classes), size // processes.size)
        self._sieve = sieve or SieveConfig()
        self._train.sieve = self._new_sieve()
        if sieve is not None:
            refuse_sieve(
                sieve, recipe, fewest=self._train.sieve.fewest, batch_size=size,
                mixed=mix is not None, taught=teacher is not None,
            )  # fmt: skip
        self.model = place(model, processes.device).train()
        self._optimizer = optimizer_of(self.model, recipe)
        self._epochs, self._steps_an_epoch = self._whole, steps
        self._clock = Clock(seconds, shortened)
        self._schedule = schedule_of(self._optimizer, recipe, self._whole, steps)
        self._average = average_of(self.model, recipe, self._whole * steps)
        self._drop_paths = DropPaths(self.model, recipe.drop_path)  # the average has none
        self._scaler = torch.amp.GradScaler(processes.device.type) if precision == "fp16" else None
        synchronize_norms(self.model, processes)
        processes.copy_first([*self.model.parameters(), *self.model.buffers()])
        self._step = TrainStep(
            self.model,
            self._optimizer,
            [p for p in self.model.parameters() if p.requires_grad],
            clip=recipe.clip,
            label_smoothing=recipe.label_smoothing,
            auxiliary_weight=recipe.auxiliary_weight,
            mix=mix,
            class_weights=self._class_weights(),
            processes=processes,
            precision=precision,
            scaler=self._scaler,
            teacher=teacher,
            observe=self._train.observe if self._train.sieve.observes else None,
        )
        self._history: list[dict[str, float]] = []
        self._steps = 0  # of the schedule
        self._before, self._taken, self._batches = 0, 0, steps
        self._best: dict[str, Tensor] | None = None
        self._judge = Judge(data, recipe, processes)
        self._given = _weights(self.model)
        # Weights to start again from; None once the network has learned something.
        self._initial = self._given if self._first_steps < self._whole * steps else None
        self._failed: dict[str, float] = {}

    def _new_sieve(self) -> Sieve:
        return self._sieve.create(self._train.labels, self._whole, self.seed)

    def run(self, *, resume: bool, on_epoch: Callable[[dict[str, float]], object]) -> TrainResult:
        """Train to the end, from the checkpoint if ``resume``, and return the result."""
        self._clock.start()
        if resume and (finished := self._take_up()) is not None:
            return finished
        if self._clock.starts_again and self._initial is not None and not self.begun:
            self._start_again()
        while not self._is_over():
            if self._has_learned_nothing():
                self._tell_that_nothing_was_learned()
                self._start_again()
            try:
                record = self._epoch(len(self._history))
            except DivergedError:
                if self._initial is None:
                    raise
                self._tell_that_nothing_was_learned()
                self._start_again()
                continue
            self._history.append({**record, **self._failed})
            self._failed, self._given = {}, {}
            self._shorten()
            self._keep()
            on_epoch(dict(self._history[-1]))
        return self._finish()

    @property
    def begun(self) -> bool:
        """Whether an epoch was finished."""
        return bool(self._history)

    def withdraw(self) -> None:
        """Leave the model as it was given."""
        self._drop_paths.remove()
        self.model.load_state_dict(self._given)

    @property
    def _first_steps(self) -> int:
        return first_steps(self.recipe, self._epochs * self._steps_an_epoch)

    def _has_learned_nothing(self) -> bool:
        """Return whether the first steps are over and changed nothing; ask once."""
        if self._initial is None or self._steps < self._first_steps:
            return False
        if self._judge.has_learned_nothing(self.model, self._history[-1]["loss"]):
            return True
        self._initial = None
        return False

    def _class_weights(self) -> Tensor | None:
        if self.recipe.class_weights == "none":
            return None
        labels = torch.cat([split.labels for split in trained_splits(self.data, self.recipe)])
        return balanced_weights(labels, len(self.data.classes)).to(self._processes.device)

    def _tell_that_nothing_was_learned(self) -> None:
        lr = self.recipe.lr
        if self._processes.first:
            logger.warning(
                "warning: the network learned nothing in %d steps with learning rate %g; the "
                "training starts again with %g",
                self._steps, lr, RETRY * lr,
            )  # fmt: skip

    def _start_again(self) -> None:
        """Begin from the initial weights with a part of the learning rate, once."""
        assert self._initial is not None
        lr = self.recipe.lr
        self._used = dataclasses.replace(self.recipe, lr=RETRY * lr)
        # A record of the failed attempt goes into the next epoch's: its time counts.
        self._failed = {"failed_lr": lr, "failed_seconds": self._clock.spent}
        self.model.load_state_dict(self._initial)
        if self._average is not None:
            self._average.module.load_state_dict(self._initial)
        self._initial, self._best, self._history, self._steps = None, None, [], 0
        self._train.sieve = self._new_sieve()
        self._clock.restart()
        self._use_learning_rate()

    def _use_learning_rate(self) -> None:
        """Make optimizer, scaler and schedule anew, with the learning rate of this attempt."""
        self._optimizer = optimizer_of(self.model, self._used)
        if self._scaler is not None:
            self._scaler = torch.amp.GradScaler(self._processes.device.type)
        self._step = dataclasses.replace(self._step, optimizer=self._optimizer, scaler=self._scaler)
        self._plan(self._whole)

    def _epoch(self, epoch: int) -> dict[str, float]:
        """Train one epoch; return its record."""
        begun = time.perf_counter()
        lr = float(self._optimizer.param_groups[0]["lr"])
        if self.recipe.drop_path_rises:
            self._drop_paths.scale(epoch / self._whole)
        # Distinct seeds for each run and epoch (below 100,003 epochs), and within a run for each
        # process and epoch (below 7,919 epochs).
        seed = self.seed * 100_003 + epoch
        self.model.train()
        size = self.recipe.batch_size or 1
        # A sieve may leave fewer batches. The schedule, which counts those of all images, and the
        # average then take longer steps, so that an epoch is an epoch.
        self._before, self._taken, self._batches = self._steps, 0, self._train.steps(size)
        try:
            narrowed = self._train.sieve.narrowing(self.model)
            with seeded(seed + 7_919 * self._processes.rank), narrowed:
                batches = self._train.train_batches(size, seed)
                loss = train_epoch(self._train_batch, batches)
        except DivergedError as error:
            raise DivergedError(
                f"{error} in epoch {epoch + 1} of {self._whole}; try a lower learning rate than "
                f"{self._used.lr:g}"
            ) from None
        record: dict[str, float] = {"epoch": epoch + 1, "loss": loss, "lr": lr}
        if self._sieve.sieves:
            record["images"] = self._batches * min(size, len(self._train))
            record["share"] = len(self._train) / len(self._train.labels)
        self._train.sieve.end_epoch(self._processes.sum)
        if self.recipe.keep_best:
            evaluation = self._judge.evaluate(self._evaluated(), "valid")
            record["valid_accuracy"] = evaluation.accuracy
            if self.recipe.metric == "macro-f1":
                record["valid_macro_f1"] = evaluation.macro_f1
        return {**record, "seconds": time.perf_counter() - begun}

    def _shorten(self) -> None:
        """Plan as many epochs as fit into the time, at most all; note a change in the record."""
        if not self._clock.decides or self._is_over():
            return
        fitting = self._clock.fitting(self._history, self._epochs, self._train.sieve.share)
        fitting = min(self._whole, self._processes.share(fitting))
        if fitting != self._epochs:
            self._history[-1]["epochs"] = fitting
            self._plan(fitting)

    def _plan(self, epochs: int) -> None:
        """Let the training end after this many epochs, and learning rate and average with it."""
        self._epochs = self._train.sieve.epochs = epochs
        if self._average is not None:
            self._average.decay = average_decay(self.recipe, epochs * self._steps_an_epoch)
        self._schedule = schedule_of(self._optimizer, self._used, epochs, self._steps_an_epoch)
        self._schedule.step_update(self._steps)

    def _train_batch(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Take a step, then move the schedule and the average on; return the loss."""
        loss = self._step(inputs, labels)
        self._taken += 1
        self._steps = self._before + self._taken * self._steps_an_epoch // self._batches
        self._schedule.step_update(self._steps)
        if self._average is not None:
            self._average.update(self.model, step=self._steps)
        return loss

    def _is_over(self) -> bool:
        done = len(self._history)
        patience = self.recipe.patience
        return done >= self._epochs or (
            patience is not None and done > 0 and done - self._best_epoch() >= patience
        )

    def _best_epoch(self) -> int:
        """Return the first epoch, from 1, with the highest score so far."""
        name = f"valid_{self.recipe.metric.replace('-', '_')}"
        scores = [record[name] for record in self._history]
        return scores.index(max(scores)) + 1

    def _finish(self) -> TrainResult:
        self._drop_paths.remove()
        final = self._evaluated()
        last = None
        if self._best is not None and self._best_epoch() < len(self._history):
            last = _weights(final)
            final.load_state_dict(self._best)
        evaluation = self._judge.evaluate(final, self.data.held_out)
        if self._processes.first:
            losses = [record["loss"] for record in self._history]
            # Where a clock decides, nobody gave a number of epochs.
            more = "more time" if self._clock.decides else f"more epochs than {len(losses)}"
            self._judge.tell(evaluation, losses, self._used.lr, more)
        result = TrainResult(
            model=final,
            evaluation=evaluation,
            history=self._history,
            recipe=self._used,
            seed=self.seed,
            seconds=self._clock.spent,
            data=self.data,
            teacher=None if self._teacher is None else self._teacher.identity,
            sieve=self._sieve.to_dict(),
            mixed_precision=self._precision,
            last=last,
        )
        if self.folder is not None and self._processes.first:
            tensors = with_prefix("final", _weights(final)) | with_prefix("end", last or {})
            plain = {
                "identity": self._identity, "halvings": self._halvings, "result": result.to_dict()
            }  # fmt: skip
            self._save(tensors, plain)
        return result

    def _evaluated(self) -> nn.Module:
        """Return the network that is evaluated, in evaluation mode, the same in all processes."""
        found: nn.Module = self.model if self._average is None else self._average.module
        self._processes.copy_first(list(found.buffers()))
        return found.eval()

    # What is kept on disk.

    def _keep(self) -> None:
        """Remember the weights if they are the best so far; write the checkpoint."""
        is_best = self.recipe.keep_best and self._best_epoch() == len(self._history)
        if is_best:
            self._best = _weights(self._evaluated())
        if self.folder is None or not self._processes.first:
            return
        tensors = with_prefix("model", self.model.state_dict())
        tensors |= with_prefix("best", self._best or {})
        tensors |= with_prefix("initial", self._initial or {})
        if self._average is not None:
            tensors |= with_prefix("average", self._average.module.state_dict())
        state, numbers = optimizer_state(self._optimizer)
        tensors |= with_prefix("optimizer", state)
        tensors |= with_prefix("sieve", self._train.sieve.state_dict())
        plain = {
            "identity": self._identity,
            "halvings": self._halvings,
            "steps": self._steps,
            "seconds": self._clock.spent,
            "history": self._history,
            "optimizer": numbers,
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
        }
        self._save(tensors, plain)

    def _save(self, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        assert self.folder is not None
        then = "go on with --resume (from Python: resume=True)"
        with writable(self.folder, "make it writable", then):
            save_checkpoint(self.folder / CHECKPOINT, tensors, plain)

    def _take_up(self) -> TrainResult | None:
        """Restore the last checkpoint, if there is one; return the result if it was finished."""
        if self.folder is None:
            raise RunError("resume needs the folder of the checkpoints")
        saved = load_checkpoint(self.folder / CHECKPOINT)
        if saved is None:
            return None
        tensors, plain = saved
        path = self.folder / CHECKPOINT
        kept: _SavedForm = checked_content(plain, _SavedForm, path)
        refuse_differences(
            "training",
            kept["identity"],
            self._identity,
            defaults={**_settings(Recipe()), "teacher": None, "sieve": "all"},
            left_out=("data.name",),
            instead="start a new one with another --out, or --overwrite",
        )
        if "result" in kept:
            with restoring(path):
                return self._finished(tensors, kept["result"])
        progress: _ProgressForm = checked_content(plain, _ProgressForm, path)
        with restoring(path):
            self._restore(tensors, progress)
        return None

    def _finished(self, tensors: Mapping[str, Tensor], result: Mapping[str, Any]) -> TrainResult:
        """Return the result of a training that was finished."""
        self.model.load_state_dict(without_prefix("final", tensors))
        self._drop_paths.remove()
        return dataclasses.replace(
            TrainResult.from_dict(result),
            model=self.model.eval(),
            data=self.data,
            last=without_prefix("end", tensors) or None,
        )

    def _restore(self, tensors: Mapping[str, Tensor], kept: _ProgressForm) -> None:
        """Restore a training between two epochs."""
        self.model.load_state_dict(without_prefix("model", tensors))
        if self._average is not None:
            self._average.module.load_state_dict(without_prefix("average", tensors))
        self._steps, self._history = kept["steps"], kept["history"]
        self._clock.earlier = kept["seconds"]
        if "failed_lr" in self._history[0]:
            self._used = dataclasses.replace(self.recipe, lr=RETRY * self.recipe.lr)
            self._use_learning_rate()
        self._initial = without_prefix("initial", tensors) or None
        load_optimizer(self._optimizer, without_prefix("optimizer", tensors), kept["optimizer"])
        if self._scaler is not None:
            self._scaler.load_state_dict(kept["scaler"] or {})
        self._plan(
            int(([self._epochs] + [r["epochs"] for r in self._history if "epochs" in r])[-1])
        )
        self._train.sieve.load_state_dict(without_prefix("sieve", tensors))
        self._best = without_prefix("best", tensors) or None

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """What has to be equal for a training to go on as if it had not been killed."""
        return {
            **_settings(self._asked),
            "seed": self.seed,
            "data": {"name": self.data.name, "fingerprint": self.data.fingerprint()},
            "network": self._network,
            "mixed precision": self._precision,
            "teacher": None if self._teacher is None else self._teacher.identity,
            "sieve": "all",
            **self._sieve.identity(),
        }


def evaluated_weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights that an unfinished training would be evaluated with, from its checkpoint.

    Args:
        folder: Folder of the training.

    Raises:
        RunError: There is no checkpoint, or it is damaged.
    """
    saved = load_checkpoint(folder / CHECKPOINT)
    if saved is None:
        raise RunError(f"{folder} holds no checkpoint of a training")
    tensors, _ = saved
    return without_prefix("average", tensors) or without_prefix("model", tensors)


def kept_halvings(folder: Path) -> int:
    """Return how often a training halved its batch size, by its checkpoint; 0 where there is none.

    Args:
        folder: Folder of the training.

    Raises:
        RunError: The checkpoint is damaged.
    """
    plain = _saved_plain(folder)
    if plain is None:
        return 0
    kept: _SavedForm = checked_content(plain, _SavedForm, folder / CHECKPOINT)
    return kept["halvings"]


def spent_seconds(folder: Path) -> float:
    """Return the seconds that a training has taken, by its checkpoint; 0 where there is none yet.

    Args:
        folder: Folder of the training.

    Raises:
        RunError: The checkpoint is damaged.
    """
    plain = _saved_plain(folder)
    if plain is None:
        return 0.0
    kept: _SpentForm = checked_content(plain.get("result", plain), _SpentForm, folder / CHECKPOINT)
    return kept["seconds"]


def _saved_plain(folder: Path) -> dict[str, Any] | None:
    """Return the plain data of the checkpoint in a folder; None where there is none yet."""
    saved = load_checkpoint(folder / CHECKPOINT)
    return None if saved is None else saved[1]


def _network_hash(model: nn.Module) -> str:
    """Return a hash of the layers and their shapes.

    Shapes alone do not tell a pooling from a skip connection, or a dilated convolution from a plain
    one.
    """
    shapes = [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
    layers = re.sub(r" at 0x[0-9a-f]+", "", str(model))  # a layer may show a function
    return hashlib.sha256(repr((layers, shapes)).encode()).hexdigest()[:16]


def _settings(recipe: Recipe) -> dict[str, Any]:
    return {f"recipe {name}": value for name, value in dataclasses.asdict(recipe).items()}


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of all tensors; names that share one share its copy too."""
    return copy.deepcopy(dict(model.state_dict()))

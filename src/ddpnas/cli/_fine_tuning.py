"""``ddpnas train --start``: go on from a network that has weights, instead of from scratch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from jsonargparse import Namespace

from ddpnas.cli import _show as show
from ddpnas.costs.network import count_network
from ddpnas.data.preprocessing import Preprocessing
from ddpnas.errors import OptionError
from ddpnas.space.user_code import names_file, without_folders
from ddpnas.training.pretrained import (
    OpenedNetwork,
    library_preprocessing,
    load_data_for,
    open_network,
)
from ddpnas.training.protections import planned_epochs
from ddpnas.training.recipes import Recipe
from ddpnas.training.results import Compared
from ddpnas.training.saving import TrainedFolder
from ddpnas.training.train import train

__all__ = ["fine_tune"]

_OF_A_SPACE = ("run", "architecture", "random", "same_size", "baseline", "space_options")


def fine_tune(options: Namespace, recipe: Recipe, out: Path) -> tuple[Compared, OpenedNetwork]:
    """Fine-tune the network that ``--start`` names, and keep it in a folder.

    Args:
        options: Options of ``ddpnas train``.
        recipe: How it is trained.
        out: Folder for the result.

    Returns:
        The network with its costs and its training, and as it was opened.
    """
    if unfit := [name for name in _OF_A_SPACE if options[name]]:
        named = "RUN" if unfit[0] == "run" else f"--{unfit[0].replace('_', '-')}"
        raise OptionError(f"--start trains one network; leave {named} out")
    if options.data is None:
        raise OptionError("--start needs images: --data FOLDER")
    again = [name for name in ("network", "space") if options[name] is not None]
    if again and not Path(options.start).is_dir():
        raise OptionError(
            f"--{again[0]} names the file of a trained network again, and --start {options.start} "
            f"is not the folder of one; leave --{again[0]} out"
        )
    code = next((options[name] for name in again if names_file(options[name])), None)
    library = library_preprocessing(options.start, code=code)
    data = load_data_for(
        options.start, options.data, code=code,
        image_size=options.image_size or recipe.image_size,
        limit_train_images=options.limit_train_images,
    )  # fmt: skip
    epochs = planned_epochs(recipe, data)
    recipe = dataclasses.replace(recipe, epochs=epochs)
    opened = open_network(
        options.start,
        num_classes=len(data.classes),
        input_shape=data.input_shape,
        weights=options.weights,
        code=code,
        seed=options.seed,
    )
    for line in _described(opened, library, data.input_shape):
        show.line(line, quiet=options.quiet)
    name = _label(options.start)
    with (
        TrainedFolder.opened(out, resume=options.resume, overwrite=options.overwrite) as folder,
        show.TrainProgress(epochs, quiet=options.quiet) as progress,
    ):
        result = train(
            opened.model,
            opened.prepare(data),
            recipe,
            seed=options.seed,
            device=options.device,
            mixed_precision=options.mixed_precision,
            track=options.track,
            teacher=options.teacher,
            sieve=options.sieve,
            sieve_options=options.sieve_options,
            folder=folder.checkpoints / "start",
            resume=options.resume,
            on_epoch=lambda record: progress.update(name, record),
        )
        counted = count_network(opened.model, data.input_shape)
        costs = {cost: float(counted[cost]) for cost in ("macs", "params")}
        text = "" if opened.space is None else opened.space.format(opened.architecture)
        trained = Compared(name, text or name, opened.architecture, costs, result)
        folder.save(opened.space, [trained], named=opened.named, start=opened.start)
    return trained, opened


def _described(
    opened: OpenedNetwork, library: Preprocessing | None, shape: tuple[int, ...]
) -> list[str]:
    head = f", and a new last layer ({opened.new_head})" if opened.new_head else ""
    lines = [f"fine-tuning {opened.name}: {len(opened.matched)} tensors with their weights{head}"]
    if library is not None and library.mean and library.shape[1:] != shape[1:]:
        size = "x".join(map(str, shape[1:]))
        lines.append(
            f"images are {size} pixels; the weights were trained on {library.shape[-1]} a side "
            f"(--image-size {library.shape[-1]} is slower and often better)"
        )
    return lines


def _label(start: str) -> str:
    """Return the name for tables and files, without a path."""
    return without_folders(start) if ":" in start or names_file(start) else Path(start).name

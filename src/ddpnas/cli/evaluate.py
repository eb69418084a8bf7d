"""``ddpnas evaluate`` and ``ddpnas predict``: a trained network on images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from jsonargparse import ArgumentParser, Namespace
from torch import Tensor

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_json, add_own_network, add_own_space, new_parser
from ddpnas.cli._trained_network import load_network, training_data
from ddpnas.errors import DataError
from ddpnas.training.device import pick_device
from ddpnas.training.evaluate import evaluate as evaluate_model
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.settings import Count
from ddpnas.utils.shapes import Range
from ddpnas.utils.text import printable

__all__ = ["COMMANDS"]

_MOST_CLASSES = 20  # above this, the confusion matrix is too wide to print
_MOST_NAMED = 5  # unreadable images in the final message


def _evaluate_parser() -> ArgumentParser:
    parser = new_parser("score a trained network on images with labels")
    _add_model(parser)
    parser.add_argument(
        "--data",
        help="folder with one subfolder for each class, or another form that `ddpnas data` lists; "
        "default: the data of the training",
    )
    parser.add_argument("--split", help="train, valid or test; default: test, else valid")
    parser.add_argument(
        "--workers",
        type=Annotated[int, Range(0, 1024)],
        default=0,
        help="number of processes that read images",
    )
    add_json(parser)
    return parser


def _predict_parser() -> ArgumentParser:
    parser = new_parser(
        "classify images with a trained network",
        "ddpnas predict runs/photos photos/cat/1.jpg",
    )
    _add_model(parser)
    parser.add_argument("images", nargs="+", help="image files, or folders of them")
    parser.add_argument(
        "--top", type=Count, default=3, help="number of classes to print for each image"
    )
    add_json(parser)
    return parser


def _add_model(parser: ArgumentParser) -> None:
    parser.add_argument("folder", help="folder of a run, or of a trained network")
    add_own_space(parser)
    add_own_network(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")


def evaluate(options: Namespace) -> None:
    """Run ``ddpnas evaluate``."""
    model = load_network(options, pick_device(options.device))
    data = training_data(model) if options.data is None else options.data
    scored = evaluate_model(model, data, options.split, workers=options.workers)
    if options.json:
        show.as_json({"classes": list(model.classes), **scored.to_dict()}, indent=None)
        return
    show.line(
        f"accuracy {100 * scored.accuracy:.2f} % on {scored.items:,} images "
        f"({scored.data}, split {scored.split})"
    )
    if scored.is_imbalanced:
        show.line(f"classes differ in size: macro-F1 {100 * scored.macro_f1:.2f} %")
    columns, rows = ["class", "accuracy", "images"], []
    whole = len(model.classes) <= _MOST_CLASSES
    for name, right, taken in zip(model.classes, scored.per_class, scored.confusion, strict=True):
        share = "-" if right is None else f"{100 * right:.1f} %"
        rows.append([name, share, f"{sum(taken):,}", *(map(str, taken) if whole else ())])
    names = [f"as {name}" for name in model.classes] if whole else []
    show.table([*columns, *names], rows, title="accuracy by class, and predicted classes")


def predict(options: Namespace) -> None:
    """Run ``ddpnas predict``; images that cannot be read are skipped and reported at the end."""
    model = load_network(options, pick_device(options.device))
    answers: list[dict[str, Any]] = []
    unread: list[str] = []
    for image, found in model.predict_files(options.images):
        if isinstance(found, DataError):
            unread.append(image)
            answers.append({"image": image, "error": str(found)})
        else:
            answers.append({"image": image, "classes": _best(model, found, options.top)})
        if not options.json:
            show.line(_said(answers[-1]))
    if options.json:
        show.as_json(answers, indent=None)
    if unread:
        more = f" and {len(unread) - _MOST_NAMED} more" if len(unread) > _MOST_NAMED else ""
        raise DataError(
            f"{len(unread)} of {len(answers)} images cannot be read: "
            f"{', '.join(unread[:_MOST_NAMED])}{more}"
        )


def _best(model: TrainedModel, probabilities: Tensor, top: int) -> list[dict[str, Any]]:
    best = probabilities.argsort(descending=True)[: max(1, top)].tolist()
    return [{"class": model.classes[i], "probability": float(probabilities[i])} for i in best]


def _said(answer: Mapping[str, Any]) -> str:
    if "error" in answer:
        return printable(str(answer["error"]))
    said = ", ".join(f"{c['class']} {100 * c['probability']:.1f} %" for c in answer["classes"])
    return f"{printable(answer['image'])}: {said}"


COMMANDS: dict[str, Command] = {
    "evaluate": (_evaluate_parser, evaluate),
    "predict": (_predict_parser, predict),
}

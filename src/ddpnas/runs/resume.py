"""Reopen a run folder: its space and data again, and the search that goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ddpnas.data.data import Data
from ddpnas.data.load import DataConfig, load_data
from ddpnas.errors import RunError
from ddpnas.evaluators.registry import evaluator_options, list_evaluators
from ddpnas.runs.folder import GENERATED
from ddpnas.runs.loop import Progress
from ddpnas.runs.search import SearchResult, search
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import confirmed_name
from ddpnas.spaces.registry import list_spaces, named_space
from ddpnas.strategies.registry import list_strategies
from ddpnas.utils.files import read_json

__all__ = ["read_config", "resume", "run_data", "run_generated", "run_space"]


def read_config(run: str | Path) -> dict[str, Any]:
    """Return the resolved configuration of a run folder.

    Raises:
        RunError: there is none, it is damaged, or has settings that this version does not know.
    """
    path = Path(run) / "config.yaml"
    if not path.is_file():
        raise RunError(f"{run} is not a run folder (it holds no config.yaml)")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RunError(f"{path} is damaged: {error}") from None
    if not isinstance(config, dict) or "space" not in config:
        raise RunError(f"{path} is no configuration of a search")
    known = (
        evaluator_options(name) if (name := config.get("evaluator")) in list_evaluators() else {}
    )
    given = config.get("evaluator_options")
    if given is None:
        raise RunError(f"{path} was written by another version of ddpnas; use that version")
    if known and (strange := sorted(set(given) - set(known))):
        raise RunError(
            f"{path} has the setting evaluator_options.{strange[0]}, which this version of ddpnas "
            f"does not know; use the version that wrote it"
        )
    return config


def run_data(run: str | Path, *, moved_to: str | Path | None = None, **changes: Any) -> Data:
    """Return the data of a run, read again from where it was.

    Args:
        run: its folder.
        moved_to: where the same images are now.
        changes: fields of :class:`DataConfig` to set; where one is another, other images will do.

    Raises:
        RunError: the data came from Python objects, or is not where or what it was.
    """
    config = read_config(run)
    names = {field.name for field in dataclasses.fields(DataConfig)}
    if "data" not in config:
        raise RunError(
            f"the data of {run} came from Python objects; go on from Python, with the same "
            f"objects: ddpnas.search(space, data, out={str(run)!r}, resume=True)"
        )
    kept = DataConfig(**{k: v for k, v in config.items() if k in names})
    if moved_to is not None:
        kept = dataclasses.replace(kept, data=str(moved_to))
    elif "data" not in changes and Path(kept.data).is_absolute() and not Path(kept.data).exists():
        raise RunError(
            f"the images of {run} are no longer at {kept.data}; say where they are: --data FOLDER"
        )
    wanted = dataclasses.replace(kept, **changes)
    data = load_data(wanted)
    identity = _identity(run)
    if wanted == kept and identity and data.fingerprint() != identity["data"]["fingerprint"]:
        raise RunError(
            f"the images in {kept.data} are no longer those that {run} searched: other files, "
            f"classes or splits, so that test images may be ones that it learned from; search "
            f"again, or train the architecture by --space, --architecture and --data"
        )
    return data


def run_space(
    run: str | Path, *, space: str | None = None, options: Mapping[str, Any] | None = None
) -> SearchSpace:
    """Return the space of a run, at the size that was searched or another.

    Args:
        run: its folder.
        space: for a run over a user's own space, its ``file.py:network`` once more: a file is
            executed only because the user names it, never because a run folder does.
        options: of the space, over those of the run (another width for the final network).

    Raises:
        RunError: ``space`` is needed and missing, or another than the run's, or its code is no
            longer what was searched.
    """
    config = read_config(run)
    options = {**config["space_options"], **(options or {})}
    code = _identity(run).get("code")
    name = confirmed_name("space", run, str(config["space"]), space, known=list_spaces(), kept=code)
    return named_space(name, options)


def run_generated(run: str | Path) -> dict[str, Any]:
    """Return the record of what ``ddpnas generate`` gave last for a run; empty before it."""
    path = Path(run) / GENERATED
    return dict(read_json(path)) if path.is_file() else {}


def _identity(run: str | Path) -> dict[str, Any]:
    """Return what identifies a run; nothing where it was killed before that was written."""
    path = Path(run) / "run.json"
    return dict(read_json(path)["identity"]) if path.is_file() else {}


def resume(
    run: str | Path,
    *,
    space: str | None = None,
    strategy: str | None = None,
    data: str | Path | None = None,
    device: str | None = None,
    on_progress: Callable[[Progress], object] | None = None,
) -> SearchResult:
    """Go on with an interrupted search and return its result, that of the unbroken run.

    Args:
        run: its folder. A finished run returns what it found.
        space: of a run over a user's own space, its ``file.py:network``: a file is executed only
            because the user names it.
        strategy: of a run with a user's own strategy, its ``file.py:MyStrategy``, likewise.
        data: where its images are now, if they have moved.
        device: other than before; scores may then differ in their last digits.
        on_progress: see :func:`ddpnas.search`.

    Raises:
        RunError: data, space, strategy or settings are no longer those of the run, with the
            difference.
    """
    config = read_config(run)
    code = _identity(run).get("strategy_code")
    named = confirmed_name(
        "strategy", run, str(config["strategy"]), strategy, known=list_strategies(), kept=code
    )
    if config["evaluator"] not in list_evaluators():
        raise RunError(
            f"the evaluator of {run}, {config['evaluator']!r}, is a class of a Python program; go "
            f"on from there: ddpnas.search(space, data, strategy, evaluator=..., out={str(run)!r}, "
            f"resume=True)"
        )
    return search(
        run_space(run, space=space),
        run_data(run, moved_to=data),
        named,
        out=run,
        seed=config["seed"],
        strategy_options=config["strategy_options"],
        evaluator=config["evaluator"],
        evaluator_options=config["evaluator_options"],
        device=device or config["device"],
        resume=True,
        on_progress=on_progress,
    )

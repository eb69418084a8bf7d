"""Run: reopens the space and data of a run folder, and generates and scores from it."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddpnas.data.data import Data
from ddpnas.data.load import load_data
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import RunError
from ddpnas.evaluators.base import Evaluation, Evaluator
from ddpnas.evaluators.registry import list_evaluators
from ddpnas.runs._forms import CheckpointForm
from ddpnas.runs._run_files import RunFiles
from ddpnas.runs._search_evaluator import create_named_evaluator, search_evaluator_config
from ddpnas.runs.folder import GENERATED, RUN, RunFolder
from ddpnas.runs.generation_request import GenerationRequest, GenerationResult, GenerationTask
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import confirmed_name, names_file
from ddpnas.spaces.registry import list_spaces, named_space
from ddpnas.strategies.base import Strategy
from ddpnas.strategies.registry import create_strategy, list_strategies
from ddpnas.training.checkpoint import CHECKPOINT, load_checkpoint, restoring
from ddpnas.utils.files import writable
from ddpnas.utils.read import checked_content
from ddpnas.utils.text import resume_command

__all__ = ["Run"]

logger = logging.getLogger(__name__)

_RESCORED_TOGETHER = 10  # architectures, at least: together they share work


class Run(RunFiles):
    """A run folder, finished or not. Nothing in it is executed.

    Each file is read when it is first needed and then kept. To see how a search has progressed,
    make another ``Run``.

    Args:
        path: The folder.
        label: A short name for comparisons; None is the name of the folder.
        trained: Folder of a training of what the run found; None is ``trained`` in the folder.

    Attributes:
        path: The folder, as it was named.
        label: The short name.
        config: What the search was asked to do.

    Raises:
        RunError: It is not a run folder, or another version of ddpnas wrote it.

    Example:
        >>> import ddpnas, tempfile
        >>> out = tempfile.mkdtemp() + "/run"
        >>> _ = ddpnas.search("nasbench201", "sign-digits-small", evaluator="table", out=out)
        >>> run = Run(out)
        >>> run.finished, run.config.space
        (True, 'nasbench201')
        >>> found = run.generate(GenerationRequest(limits={"params": "200K"})).chosen
        >>> found.costs["params"] <= 200_000
        True
    """

    @classmethod
    def of_trained(cls, folder: str | Path) -> Run | None:
        """Return the run whose network a folder holds; None for a network of no run.

        Args:
            folder: Folder of a run, or of a trained network in it.
        """
        found = (p for p in (Path(folder), Path(folder).resolve().parent) if (p / RUN).is_file())
        path = next(found, None)
        return None if path is None else cls(path)

    # Its space and data, again.

    def space(
        self, name: str | None = None, *, options: Mapping[str, Any] | None = None
    ) -> SearchSpace:
        """Return the space of the run, at the size that was searched or another.

        Args:
            name: For a run over a user's space, its ``file.py:network`` once more: a file is
                executed only because the user names it, never because a run folder does.
            options: Options of the space that override those of the run, such as another width
                for the final network.

        Raises:
            RunError: ``name`` is needed and missing, or is another than the run's, or its code has
                changed since the search.
        """
        confirmed = confirmed_name(
            "space",
            self.path,
            self.config.space,
            name,
            known=list_spaces(),
            kept=self.identity.space_code,
        )
        return named_space(confirmed, {**self.config.space_options, **(options or {})})

    def strategy(self, name: str | None = None) -> str:
        """Return the name of the run's strategy, confirmed by the user if it is in a file.

        Args:
            name: For a user's strategy, its ``file.py:MyStrategy`` once more.

        Raises:
            RunError: as :meth:`space`.
        """
        return confirmed_name(
            "strategy",
            self.path,
            self.config.strategy,
            name,
            known=list_strategies(),
            kept=self.identity.strategy_code,
        )

    def evaluator_options(self, network: str | None = None) -> dict[str, Any]:
        """Return the options of the run's evaluator, confirmed by the user if one names a file.

        Args:
            network: For an evaluator whose teacher is code in a file, its ``file.py:function``
                once more.

        Raises:
            RunError: as :meth:`space`.
        """
        options = dict(self.config.evaluator_options)
        teacher = options.get("teacher")
        if isinstance(teacher, str) and names_file(teacher):
            kept = self.identity.evaluator_code
            options["teacher"] = confirmed_name(
                "network", self.path, teacher, network, known=(), kept=kept
            )
        elif network is not None:
            raise RunError(f"{self.path} does not use --network {network}; leave it out")
        return options

    def data(self, *, moved_to: str | Path | None = None, **changes: Any) -> Data:
        """Return the data of the run, read again from where it was.

        Args:
            moved_to: Where the same images are now.
            changes: Fields of :class:`ddpnas.data.DataConfig` to set. If one differs from the
                run's, other images are accepted.

        Raises:
            RunError: The data came from Python objects, or is not where or what it was.
        """
        kept = self.config.data
        if kept is None:
            raise RunError(
                f"the data of {self.path} came from Python objects; go on from Python, with the "
                f"same objects: ddpnas.search(space, data, out={str(self.path)!r}, resume=True)"
            )
        if moved_to is not None:
            kept = dataclasses.replace(kept, data=str(moved_to))
        elif "data" not in changes and not _is_there(kept.data):
            raise RunError(
                f"the images of {self.path} are no longer at {kept.data}; say where they are: "
                f"--data FOLDER"
            )
        wanted = dataclasses.replace(kept, **changes)
        data = load_data(wanted)
        if wanted == kept and data.fingerprint() != self.identity.data["fingerprint"]:
            raise RunError(
                f"the images in {kept.data} are no longer those that {self.path} searched: other "
                f"files, classes or splits, so that test images may be ones that it learned from; "
                f"search again, or train the architecture by --space, --architecture and --data"
            )
        return data

    # What can be done with it.

    def evaluator(
        self,
        space: SearchSpace,
        data: Data,
        *,
        device: str = "auto",
        network: str | None = None,
    ) -> Evaluator:
        """Return the evaluator of the run, in the state that the search left.

        Args:
            space: The space of the run, at the size that was searched.
            data: The data of the run.
            device: "auto", "cpu", "cuda", ...
            network: See :meth:`evaluator_options`.

        Raises:
            RunError: The run has no checkpoint, its evaluator is a class of a Python program, or a
                strategy of the user trained a mixture.
        """
        config = self.config
        if config.evaluator not in list_evaluators():
            raise RunError(
                f"the evaluator of {self.path}, {config.evaluator!r}, is a class of a Python "
                f"program; call its own rescore"
            )
        options = self.evaluator_options(network)
        saved = load_checkpoint(self.path / CHECKPOINT)
        if saved is None:
            raise RunError(f"{self.path} holds no weights ({CHECKPOINT} is missing)")
        tensors, plain = saved
        plain = checked_content(plain, CheckpointForm, self.path / CHECKPOINT)
        strategy: Strategy | None = None
        if config.strategy in list_strategies():
            strategy = create_strategy(
                config.strategy, space, seed=config.seed, **config.strategy_options
            )
        elif any(name.startswith("mixture.") for name in tensors):
            raise RunError(
                f"the strategy of {self.path}, {self.strategy_name!r}, is your own and trained a "
                f"mixture; make its ddpnas.relaxed.MixtureEvaluator, and call its rescore"
            )
        evaluator = create_named_evaluator(
            config.evaluator,
            space,
            data,
            strategy,
            search_evaluator_config(config.evaluator, strategy, options),
            evaluations=plain["evaluations"],
            seed=config.seed,
            device=device,
            sieve=SieveConfig(config.sieve, config.sieve_options),
        )
        with restoring(self.path / CHECKPOINT):
            evaluator.load_state_dict(tensors, plain["evaluator"])
        return evaluator

    def rescore(
        self,
        architectures: Sequence[Architecture],
        *,
        space: SearchSpace | str | None = None,
        data: Data | str | Path | None = None,
        network: str | None = None,
        device: str = "auto",
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[Evaluation]:
        """Score architectures with the weights that the search left, see :func:`ddpnas.rescore`."""
        if not self.finished:
            raise RunError(
                f"the run in {self.path} is not finished; go on: {resume_command(self.path)}"
            )
        if not isinstance(space, SearchSpace):
            space = self.space(space)
        architectures = [space.check(one, path=True) for one in architectures]
        if not isinstance(data, Data):
            data = self.data(moved_to=data)
        evaluator = self.evaluator(space, data, device=device, network=network)
        # Scores do not depend on what is scored together, so progress can be told between parts.
        step = max(_RESCORED_TOGETHER, math.ceil(len(architectures) / 10))
        found: list[Evaluation] = []
        while len(found) < len(architectures):
            found += evaluator.rescore(architectures[len(found) : len(found) + step])
            if on_progress is not None:
                on_progress(len(found), len(architectures))
        return found

    def task(
        self, request: GenerationRequest | None = None, *, space: str | None = None
    ) -> GenerationTask:
        """Return what a request asks of this run: the space, its costs, the objective, the rules.

        Args:
            request: Limits and further wishes; None asks for the likeliest network.
            space: For a run over a user's space, its ``file.py:network`` once more.

        Raises:
            RunError: The search is not finished, or see :meth:`space`.
            OptionError: An unknown objective, or a cost that is given twice.
            SpaceError: A table of another space or size.
        """
        request = request or GenerationRequest()
        return GenerationTask.of(
            request, self.result, self.space(space, options=request.space_options)
        )

    def generate(
        self,
        request: GenerationRequest | None = None,
        *,
        top: int = 1,
        rescore: int = 0,
        space: str | None = None,
        data: Data | str | Path | None = None,
        network: str | None = None,
        device: str = "auto",
        on_progress: Callable[[int, int], None] | None = None,
    ) -> GenerationResult:
        """Return the best network within limits, and the list that it was chosen from.

        Args:
            request: Limits and further wishes; None asks for the likeliest network.
            top: Length of the list of best networks.
            rescore: Score this many of the best with the weights of the search, each as a whole,
                and choose the one with the highest score.
            space: For a run over a user's space, its ``file.py:network`` once more.
            data: For ``rescore``: the data, or where the run's images are now.
            network: For ``rescore``: see :meth:`evaluator_options`.
            device: For ``rescore``: "auto", "cpu", "cuda", ...
            on_progress: For ``rescore``: called with the number of networks scored so far and in
                all.

        Raises:
            InfeasibleError: No network meets the limits.
            RunError, OptionError, SpaceError: see :meth:`task`.
        """
        task = self.task(request, space=space)
        if len(self.history) < 2:
            logger.warning(
                "%s scored a single network, so nothing is known of others: any network within "
                "the limits is as likely as the one that is found; for a good one, run `ddpnas "
                "fit` or `ddpnas search` with that limit",
                self.path,
            )
        candidates = task.top_k(max(top, rescore))
        scores: list[Evaluation] = []
        if rescore:
            rescored = [one.architecture for one in candidates[:rescore]]
            scores = self.rescore(
                rescored, space=space, data=data, network=network, device=device,
                on_progress=on_progress,
            )  # fmt: skip
        return GenerationResult(task, candidates, scores)

    def keep(self, found: GenerationResult) -> None:
        """Write a result of :meth:`generate` to ``generated.json``, for training and report.

        Raises:
            RunError: The folder cannot be written, or is in use.
        """
        self.write(GENERATED, found.to_dict())

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write plain data to a JSON file of the folder.

        Raises:
            RunError: The folder cannot be written, or is in use.
        """
        with RunFolder.opened(self.path) as folder, writable(self.path, "make it writable"):
            folder.write_json(name, content)

    def note_place(self, data: Data) -> None:
        """Remember where the images of the run are now; other images are ignored.

        Raises:
            RunError: The folder cannot be written, or is in use.
        """
        if data.source and data.fingerprint() == self.identity.data["fingerprint"]:
            with RunFolder.opened(self.path) as folder, writable(self.path, "make it writable"):
                folder.note_images(data.source["data"])


def _is_there(data: str) -> bool:
    """Return whether data that is a path exists; names of embedded data always do."""
    return not Path(data).is_absolute() or Path(data).exists()

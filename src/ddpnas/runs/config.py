"""RunConfig: everything that a search was asked to do, as ``config.yaml`` keeps it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ddpnas.data.load import DataConfig
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import RunError
from ddpnas.evaluators.registry import evaluator_options, list_evaluators
from ddpnas.utils.read import checked_content, read_yaml
from ddpnas.utils.settings import Seed, checked_fields

__all__ = ["RunConfig"]


@dataclass(frozen=True)
class RunConfig:
    """What to search, and how.

    ``ddpnas search --config FILE`` takes the same as YAML, and a run folder keeps it.

    Args:
        space: A published space (`ddpnas spaces`) or your own: my_file.py:network. The default,
            edge, is sized for the images and for --limit.
        space_options: Options of the space, one by one: --space-options.channels 8.
        data: Which images; None if the data came from Python objects.
        strategy: A search strategy (`ddpnas strategies`) or your own:
            my_file.py:MyStrategy.
        strategy_options: Options of the strategy (`ddpnas strategies NAME`):
            --strategy-options.evaluations 100.
        evaluator: Where scores come from (`ddpnas evaluators`): supernet (shared weights),
            standalone (each candidate is trained on its own), continued, rmi or table.
        evaluator_options: Options of the evaluator (`ddpnas evaluators NAME`):
            --evaluator-options.warmup-epochs 20.
        sieve: Rule for which images an epoch reads (`ddpnas data`): all, random, entropy,
            dynamics or curriculum.
        sieve_options: Options of the sieve, one by one: --sieve-options.keep 0.4.
        seed: Random seed.
        device: auto, cpu, cuda, ...

    Example:
        >>> import tempfile
        >>> path, config = Path(tempfile.mkdtemp(), "config.yaml"), RunConfig(space="toy", seed=3)
        >>> _ = path.write_text(config.to_yaml())
        >>> RunConfig.read(path) == config
        True
    """

    space: str = "edge"
    space_options: dict[str, Any] = field(default_factory=dict)
    data: DataConfig | None = field(default_factory=DataConfig)
    strategy: str = "ddpnas"
    strategy_options: dict[str, Any] = field(default_factory=dict)
    evaluator: str = "supernet"
    evaluator_options: dict[str, Any] = field(default_factory=dict)
    sieve: str = "all"
    sieve_options: dict[str, Any] = field(default_factory=dict)
    seed: Seed = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        checked_fields(self, "a search")
        SieveConfig(self.sieve, self.sieve_options)

    def to_yaml(self) -> str:
        """Return the configuration as YAML; the options of the data stand next to the others."""
        content = dataclasses.asdict(self)
        del content["data"]
        if self.data is not None:
            content |= dataclasses.asdict(self.data)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)

    @classmethod
    def read(cls, path: str | Path) -> RunConfig:
        """Return the configuration in a file that :meth:`to_yaml` wrote.

        Args:
            path: The file.

        Raises:
            RunError: It is damaged, or has settings that this version does not know.
        """
        content = read_yaml(path, dict[str, Any])
        if "space" not in content:
            raise RunError(f"{path} is not the configuration of a search")
        of_data = [f.name for f in dataclasses.fields(DataConfig)]
        of_run = [f.name for f in dataclasses.fields(cls)]
        strange = sorted(set(content) - {*of_data, *of_run})
        evaluator = content.get("evaluator", cls.evaluator)
        if evaluator in list_evaluators() and content.get("evaluator_options"):
            given = checked_content(content["evaluator_options"], dict[str, Any], path)
            known = evaluator_options(evaluator)
            strange += [f"evaluator_options.{name}" for name in sorted(set(given) - set(known))]
        if strange:
            raise RunError(
                f"{path} has the setting {strange[0]}, which this version of ddpnas does not know; "
                f"use the version that wrote it"
            )
        data, run = (
            {k: v for k, v in content.items() if k in names}
            for names in (of_data, {*of_run} - {"data"})
        )
        config: RunConfig = checked_content(
            {**run, "data": data if "data" in data else None}, cls, path
        )
        return config

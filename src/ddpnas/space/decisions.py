"""Decisions, architectures and rules: what can be chosen, as frozen data without torch.

Every algorithm in this package sees a search space as a :class:`DecisionSpace`: a tuple of named
decisions, each with its options, and linear rules over them. :mod:`ddpnas.space.search_space`
makes networks of it.
"""

from __future__ import annotations

import functools
import graphlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple, TypedDict

import numpy as np

from ddpnas.errors import ArchitectureError, SpaceError, nearest
from ddpnas.space._uniform import UniformSampler
from ddpnas.utils.exact import Unit, exact
from ddpnas.utils.read import checked_content
from ddpnas.utils.shapes import shown
from ddpnas.utils.text import unwritable

__all__ = [
    "Architecture",
    "Decision",
    "DecisionForm",
    "DecisionSpace",
    "Rule",
    "SpaceForm",
    "WholeRule",
]


class DecisionForm(TypedDict):
    """What files keep of a decision, see :meth:`Decision.to_dict`."""

    name: str
    options: list[str]
    active_when: list[tuple[str, str]]
    values: list[float] | None


class RuleForm(TypedDict):
    """What files keep of a rule, see :meth:`DecisionSpace.to_dict`."""

    says: str
    weights: list[tuple[str, str, float]]
    lower: float | None
    upper: float | None
    final: bool


class SpaceForm(TypedDict):
    """What files keep of a space, see :meth:`DecisionSpace.to_dict`."""

    decisions: list[DecisionForm]
    rules: list[RuleForm]


@dataclass(frozen=True, slots=True)
class Decision:
    """One categorical variable of the search space.

    Attributes:
        name: Name, unique in its space.
        options: Names of what can be chosen, in the order in which ``theta`` lists them.
        active_when: The (decision, option) pairs under any of which this decision matters, for
            a choice inside an option of another decision. Empty if it always matters.
        values: Number that each option stands for, such as a count of channels. They make the
            decision ordered. None if options have no order.

    Raises:
        SpaceError: ``values`` are not one increasing number for each option, or a name cannot
            stand in a text form: it has a control character, a semicolon, or a space at an end.

    Example:
        >>> width = Decision("width", ("16", "24", "32"), values=(16, 24, 32))
        >>> width.ordered, width.neighbors(0)
        (True, [1])
        >>> Decision("kernel", ("conv3", "conv5", "pool")).neighbors(0)
        [1, 2]
    """

    name: str
    options: tuple[str, ...]
    active_when: tuple[tuple[str, str], ...] = ()
    values: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in (self.name, *self.options):
            why = unwritable(name)
            # Text forms join "decision=option" by semicolons and are read without outer spaces.
            if ";" in name:
                why = "has a semicolon"
            elif name != name.strip():
                why = "begins or ends with a space"
            if why:
                raise SpaceError(f"decision {self.name!r} has the name {name!r}, which {why}")
        if not self.name or "=" in self.name:
            raise SpaceError(f"a decision needs a name without '=', not {self.name!r}")
        if self.values is None:
            return
        rising = all(a < b for a, b in itertools.pairwise(self.values))
        if len(self.values) != len(self.options) or not rising:
            raise SpaceError(
                f"decision {self.name!r} needs one value for each of its {len(self.options)} "
                f"options, in increasing order, not {list(self.values)}"
            )

    @property
    def ordered(self) -> bool:
        """Whether the options have an order, that of their values."""
        return self.values is not None

    def index(self, option: str) -> int:
        """Return the position of an option.

        Raises:
            ArchitectureError: The decision has no such option.
        """
        try:
            return self.options.index(option)
        except ValueError:
            kind = f"option of decision {self.name!r}"
            raise ArchitectureError(nearest(kind, option, self.options)) from None

    def neighbors(self, index: int) -> list[int]:
        """Return the positions of the options that are one change away, in increasing order.

        For an ordered decision these are the next smaller and the next larger value; otherwise
        all other options.
        """
        others = range(len(self.options))
        if self.ordered:
            return [i for i in others if abs(i - index) == 1]
        return [i for i in others if i != index]

    def to_dict(self) -> DecisionForm:
        """Return plain data for JSON, the form in which all files keep a decision."""
        return {
            "name": self.name,
            "options": list(self.options),
            "active_when": list(self.active_when),
            "values": None if self.values is None else list(self.values),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Decision:
        """Return the decision that :meth:`to_dict` described.

        Raises:
            SpaceError: The data describe no decision.
        """
        form = checked_content(data, DecisionForm, "a decision", SpaceError)
        return cls(
            form["name"],
            tuple(form["options"]),
            tuple(form["active_when"]),
            None if form["values"] is None else tuple(form["values"]),
        )


class Architecture(Mapping[str, str]):
    """One choice for every decision: an immutable, hashable mapping of decision to option.

    ``space.parse`` and ``space.format`` read and write the published text forms ("genotypes").

    Args:
        choices: Option of each decision, by name.

    Example:
        >>> architecture = Architecture({"block1": "conv3", "block2": "skip"})
        >>> architecture["block1"], {architecture: 0.9}[Architecture(dict(architecture))]
        ('conv3', 0.9)
    """

    __slots__ = ("_choices", "_hash")

    def __init__(self, choices: Mapping[str, str]) -> None:
        try:
            self._choices = {**choices}
            self._hash = hash(frozenset(self._choices.items()))
        except TypeError:
            raise ArchitectureError(
                f"an architecture must be a mapping of decisions to options, such as "
                f"{{'block1': 'conv3'}}, not {shown(choices)}"
            ) from None

    def __getitem__(self, decision: str) -> str:
        return self._choices[decision]

    def __iter__(self) -> Iterator[str]:
        return iter(self._choices)

    def __len__(self) -> int:
        return len(self._choices)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Architecture):
            return self._choices == other._choices
        return NotImplemented

    def __repr__(self) -> str:
        return f"Architecture({self._choices!r})"


class WholeRule(NamedTuple):
    """A rule in whole numbers, which add up exactly; see :attr:`Rule.whole`.

    Attributes:
        weights: Weights other than 0, as counts of a unit that all of them have in common.
        lower: Smallest count allowed; minus infinity for none.
        upper: Largest count allowed; infinity for none.
    """

    weights: dict[tuple[str, str], int]
    lower: float
    upper: float


@dataclass(frozen=True)
class Rule:
    """A linear condition: ``lower <= sum of weight of the chosen options <= upper``.

    Numbers count as they are written: three weights of 0.1 are within an upper end of 0.3.

    Attributes:
        weights: (decision, option) -> weight; a pair that is not listed has weight 0.
        says: The rule in words, for messages ("node 2 has exactly two inputs").
        lower: Smallest sum allowed.
        upper: Largest sum allowed.
        final: Whether the rule holds for networks that are built only, not for the paths of a
            supernet while it is searched (DARTS: exactly two inputs a node in the final cell).

    Raises:
        SpaceError: A weight is not a finite number, or an end is not a number.

    Example:
        >>> rule = Rule({("b1", "conv5"): 1, ("b2", "conv5"): 1}, "at most one conv5", upper=1)
        >>> rule.holds({"b1": "conv5", "b2": "conv3"}), rule.holds({"b1": "conv5", "b2": "conv5"})
        (True, False)
    """

    weights: Mapping[tuple[str, str], float]
    says: str
    lower: float = -math.inf
    upper: float = math.inf
    final: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.weights, Mapping):
            raise SpaceError(
                f"the weights of a rule must be a mapping, such as {{('block1', 'conv3'): 1}}, not "
                f"{shown(self.weights)}"
            )
        ends: tuple[Any, Any] = (self.lower, self.upper)
        for end in ends:
            if not isinstance(end, Real):
                raise SpaceError(f"an end of rule {self.says!r} must be a number, not {shown(end)}")
        given: Mapping[Any, Any] = self.weights
        for pair, weight in given.items():
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise SpaceError(
                    f"rule {self.says!r} must give weights to pairs (decision, option), not to "
                    f"{shown(pair)}"
                )
            # False for NaN, too.
            if not isinstance(weight, Real) or not -math.inf < float(weight) < math.inf:
                raise SpaceError(f"rule {self.says!r} gives {pair} the weight {shown(weight)}")
        if math.isnan(self.lower) or math.isnan(self.upper):
            raise SpaceError(f"rule {self.says!r} cannot range from {self.lower} to {self.upper}")

    @functools.cached_property
    def whole(self) -> WholeRule:
        """The rule in whole numbers, the one form in which it is tested, counted and solved."""
        weights = {pair: exact(weight) for pair, weight in self.weights.items() if weight}
        unit = Unit.of(weights.values())
        counts = {pair: unit.count(weight) for pair, weight in weights.items()}
        return WholeRule(counts, unit.least(self.lower), unit.most(self.upper))

    def holds(self, architecture: Mapping[str, str]) -> bool:
        """Return whether the architecture obeys the rule."""
        weights, lower, upper = self.whole
        return lower <= sum(weights.get(pair, 0) for pair in architecture.items()) <= upper


class DecisionSpace:
    """The decisions and rules of a search space, without any network.

    Args:
        decisions: At least one, with distinct names and at least one option each.
        rules: Conditions that every architecture has to obey.

    Attributes:
        decisions: The decisions, a tuple.
        rules: The rules, a tuple.

    Raises:
        SpaceError: Duplicate names, no options, or a rule over something that does not exist.

    Example:
        >>> space = DecisionSpace([Decision("b1", ("conv", "skip")), Decision("b2", ("a", "b"))])
        >>> space.size, space.parse("b1=skip;b2=a")
        (4, Architecture({'b1': 'skip', 'b2': 'a'}))
    """

    def __init__(self, decisions: Sequence[Decision], rules: Sequence[Rule] = ()) -> None:
        self.decisions = tuple(decisions)
        self.rules = tuple(rules)
        self._by_name = {decision.name: decision for decision in self.decisions}
        if not self.decisions:
            raise SpaceError("the search space has no decisions: `choose` was never called")
        if len(self._by_name) != len(self.decisions):
            raise SpaceError("two decisions of the search space have the same name")
        for decision in self.decisions:
            if not decision.options or len(set(decision.options)) != len(decision.options):
                raise SpaceError(f"decision {decision.name!r} needs distinct options, at least one")
        pairs = {(d.name, option) for d in self.decisions for option in d.options}
        asked_in = {d.name: [parent for parent, _ in d.active_when] for d in self.decisions}
        for decision in self.decisions:
            if unknown := set(decision.active_when) - pairs:
                raise SpaceError(
                    f"decision {decision.name!r} depends on {min(unknown)}, which does not exist"
                )
        try:
            graphlib.TopologicalSorter(asked_in).prepare()
        except graphlib.CycleError as error:
            circle = " on ".join(map(repr, error.args[1]))
            raise SpaceError(f"decisions depend on each other in a circle: {circle}") from None
        for rule in self.rules:
            if unknown := set(rule.weights) - pairs:
                raise SpaceError(f"rule {rule.says!r} names {min(unknown)}, which does not exist")

    @property
    def size(self) -> int:
        """The number of architectures, including those that a rule forbids."""
        return math.prod(len(decision.options) for decision in self.decisions)

    def __getitem__(self, name: str) -> Decision:
        try:
            return self._by_name[name]
        except KeyError:
            raise ArchitectureError(nearest("decision", name, self._by_name)) from None

    def check(self, architecture: Mapping[str, str], *, path: bool = False) -> Architecture:
        """Return the architecture, decisions in the order of the space.

        Args:
            architecture: An option for every decision.
            path: The architecture is a path of a supernet, so that rules on final networks
                (:attr:`Rule.final`) need not hold.

        Args:
            architecture: An option for every decision.

        Raises:
            ArchitectureError: Unknown or missing decision, unknown option, or a broken rule.
        """
        for name, option in architecture.items():
            self[name].index(option)
        if missing := [d.name for d in self.decisions if d.name not in architecture]:
            raise ArchitectureError(f"the architecture does not decide {', '.join(missing)}")
        for rule in self.rules:
            if not (path and rule.final) and not rule.holds(architecture):
                raise ArchitectureError(f"the architecture breaks the rule: {rule.says}")
        return Architecture({d.name: architecture[d.name] for d in self.decisions})

    def encode(self, architecture: Mapping[str, str]) -> tuple[int, ...]:
        """Return the index of the chosen option of each decision, in the order of decisions."""
        return tuple(d.index(architecture[d.name]) for d in self.decisions)

    def decode(self, indices: Sequence[int]) -> Architecture:
        """Return the architecture with these option indices (the inverse of :meth:`encode`)."""
        if len(indices) != len(self.decisions):
            raise ArchitectureError(
                f"{len(indices)} indices given, the space has {len(self.decisions)} decisions"
            )
        for decision, index in zip(self.decisions, indices, strict=True):
            if not 0 <= index < len(decision.options):
                raise ArchitectureError(
                    f"index {index} is out of range for decision {decision.name!r} "
                    f"with {len(decision.options)} options"
                )
        pairs = zip(self.decisions, indices, strict=True)
        return Architecture({d.name: d.options[i] for d, i in pairs})

    def active(self, architecture: Mapping[str, str]) -> tuple[str, ...]:
        """Return the names of the decisions that matter for this architecture."""
        result: dict[str, bool] = {}

        def is_active(name: str) -> bool:
            if name not in result:
                parents = self[name].active_when
                result[name] = not parents or any(
                    architecture[parent] == option and is_active(parent)
                    for parent, option in parents
                )
            return result[name]

        return tuple(d.name for d in self.decisions if is_active(d.name))

    def sample(self, rng: np.random.Generator, tries: int = 100_000) -> Architecture:
        """Return an architecture drawn uniformly from those that obey all rules.

        The draw is exact: it counts the ways to obey the rules (:mod:`ddpnas.space._uniform`).
        Rules with many uneven weights make that count too large; then random architectures are
        drawn until one obeys.

        Args:
            rng: Source of randomness.
            tries: Random architectures to draw at most.

        Raises:
            SpaceError: No architecture obeys the rules, or none of the tries did.
        """
        sampler = self._sampler
        if sampler is not None:
            if sampler.count == 0:
                raise SpaceError("no architecture obeys the rules of the space")
            return self.decode(sampler.draw(rng))
        sizes = [len(d.options) for d in self.decisions]
        for _ in range(tries):
            architecture = self.decode([int(i) for i in rng.integers(sizes)])
            if all(rule.holds(architecture) for rule in self.rules):
                return architecture
        raise SpaceError(f"none of {tries} random architectures obeys the rules of the space")

    @property
    def valid_size(self) -> int | None:
        """The number of architectures that obey all rules; None if that is too hard to count."""
        return self._sampler.count if self._sampler is not None else None

    @functools.cached_property
    def _sampler(self) -> UniformSampler | None:
        def row(rule: Rule, decision: Decision) -> list[int] | None:
            weights = [rule.whole.weights.get((decision.name, o), 0) for o in decision.options]
            return weights if any(weights) else None

        weights = [[row(rule, decision) for decision in self.decisions] for rule in self.rules]
        bounds = [(rule.whole.lower, rule.whole.upper) for rule in self.rules]
        try:
            return UniformSampler([len(d.options) for d in self.decisions], weights, bounds)
        except OverflowError:
            return None

    def canonical(self, architecture: Mapping[str, str]) -> Architecture:
        """Return the architecture that stands for all that make the same network.

        A decision does not matter if no option that asks it is chosen; it is set to its first
        option. Two architectures with equal canonical forms are the same network.
        """
        checked = dict(architecture)
        active = set(self.active(checked))
        return Architecture(
            {d.name: checked[d.name] if d.name in active else d.options[0] for d in self.decisions}
        )

    def format(self, architecture: Mapping[str, str]) -> str:
        """Return the architecture as text: ``decision=option`` joined by semicolons."""
        return ";".join(f"{d.name}={architecture[d.name]}" for d in self.decisions)

    def parse(self, text: str) -> Architecture:
        """Return the architecture that :meth:`format` wrote.

        Raises:
            ArchitectureError: The text does not have that form, or names something unknown.
        """
        parts = [part.partition("=") for part in text.strip().split(";")]
        if not all(equals for _, equals, _ in parts):
            raise ArchitectureError(
                f"cannot read the architecture {text!r}; the form is "
                f"{self.format({d.name: d.options[0] for d in self.decisions})!r}"
            )
        choices = {name.strip(): option.strip() for name, _, option in parts}
        if len(choices) < len(parts):
            raise ArchitectureError(f"a decision is given twice in the architecture {text!r}")
        return self.check(choices)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: decisions and rules, without any network."""

        def bound(value: float) -> float | None:
            return value if math.isfinite(value) else None

        return {
            "decisions": [decision.to_dict() for decision in self.decisions],
            "rules": [
                {
                    "says": rule.says,
                    "weights": [[*pair, weight] for pair, weight in rule.weights.items()],
                    "lower": bound(rule.lower),
                    "upper": bound(rule.upper),
                    "final": rule.final,
                }
                for rule in self.rules
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DecisionSpace:
        """Return the decisions and rules that :meth:`to_dict` described.

        Raises:
            SpaceError: The data describe no space.
        """
        form = checked_content(data, SpaceForm, "a search space", SpaceError)
        decisions = [Decision.from_dict(decision) for decision in form["decisions"]]
        rules = [
            Rule(
                weights={(decision, option): w for decision, option, w in rule["weights"]},
                says=rule["says"],
                lower=-math.inf if rule["lower"] is None else rule["lower"],
                upper=math.inf if rule["upper"] is None else rule["upper"],
                final=rule["final"],
            )
            for rule in form["rules"]
        ]
        return DecisionSpace(decisions, rules)

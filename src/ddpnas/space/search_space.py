"""SearchSpace: a function that makes a network and asks for each open decision.

A search space is an ordinary function (or ``nn.Module`` class) that makes a network and calls
``choose(name, options)`` wherever the network is undecided:

    def network(choose):
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            choose("block1", {"conv3": lambda: nn.Conv2d(16, 16, 3, padding=1),
                              "conv5": lambda: nn.Conv2d(16, 16, 5, padding=2),
                              "skip": nn.Identity}),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))

``choose`` has two implementations. ``DeclareChoices`` leaves every decision open and returns a
:class:`Choice`: on the meta device it tells which decisions there are and whether the options
fit; on a real device it makes the weight-sharing :class:`Supernet`. ``BuildChoice`` returns the
chosen module alone, so a built network has no trace of the search. ``choose.searching`` tells
the function which of the two it makes.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ddpnas.errors import SpaceError
from ddpnas.space._path_statistics import NormCalls, note_calls
from ddpnas.space._trace import as_space_error, check_network, forget_visit, visit_options
from ddpnas.space._width_check import check_widths, explain_failure
from ddpnas.space.choose import BuildChoice, Choose, DeclareChoices
from ddpnas.space.decisions import Architecture, Decision, DecisionSpace, Rule
from ddpnas.space.drawing import Picture, draw
from ddpnas.space.meta import make_network, move_to_meta, on_meta
from ddpnas.space.network_options import as_plain, declared_options, network_options
from ddpnas.space.outputs import main_output
from ddpnas.space.slices import Slices, fix_widths
from ddpnas.space.supernet import Choice, Condition, Supernet
from ddpnas.space.user_code import UserCode
from ddpnas.utils.memory import without_collections
from ddpnas.utils.settings import checks_arguments

__all__ = ["SearchSpace", "Text"]

NetworkOptions = Mapping[str, Any]
Text = tuple[Callable[[Mapping[str, str]], str], Callable[[str], Mapping[str, str]]]
Chooses = TypeVar("Chooses", bound=Choose)


class SearchSpace(DecisionSpace):
    """A family of networks: the decisions that a function asks for, and how to build from them.

    Args:
        network: Function or module class, ``network(choose, **options) -> nn.Module``. If it has
            a parameter ``input_shape``, it is given that too.
        input_shape: Shape of one input without the batch: (channels, height, width) for images,
            (length,) for tokens. Optional if ``network`` has a default for it.
        name: Name in messages and files; by default the function's name.
        input_dtype: Type of the input; ``torch.int64`` for tokens.
        rules: Linear conditions on architectures, or a function of the options that returns them.
        text: (format, parse) of a published text form, or a function of the options that
            returns them; by default ``decision=option;...``.
        canonical: Returns the choices of the architecture that stands for all that make the same
            network; see :meth:`canonical`.
        final_options: Options of the paper's final network, for :meth:`with_options`.
        options: Further arguments of ``network``, such as its width.

    Attributes:
        decisions: The decisions that the function asks for, in the order in which it asks.
        rules: The rules.
        options: All arguments of ``network``, defaults included.
        output_shape: Shape of the output for one input, without the batch.
        source: The user's file that it was made from; None if it was made in Python.
        own_options: Names of further arguments of a subclass, such as ``limits`` where sizes follow
            from them.

    Raises:
        SpaceError: The network cannot be made or run on that input in training and in evaluation
            mode, it never runs a decision, options of a decision have outputs of different shapes,
            or a name is asked twice with different options.
        OptionError: ``network`` does not take an option.

    Example:
        >>> def network(choose, width=8):
        ...     conv = lambda k: lambda: nn.Conv2d(3, width, k, padding=k // 2)
        ...     return choose("layer", {"conv3": conv(3), "conv5": conv(5)})
        >>> space = SearchSpace(network, (3, 32, 32))
        >>> space.size, space.output_shape, space.build({"layer": "conv5"}).kernel_size
        (2, (8, 32, 32), (5, 5))
    """

    own_options: ClassVar[frozenset[str]] = frozenset()

    @checks_arguments
    def __init__(
        self,
        network: Callable[..., nn.Module],
        input_shape: Sequence[int] | None = None,
        *,
        name: str | None = None,
        input_dtype: torch.dtype = torch.float32,
        rules: Sequence[Rule] | Callable[[NetworkOptions], Sequence[Rule]] = (),
        text: Text | Callable[[NetworkOptions], Text] | None = None,
        canonical: Callable[[Mapping[str, str]], Mapping[str, str]] | None = None,
        final_options: NetworkOptions | None = None,
        **options: Any,
    ) -> None:
        self.network = network
        self.name = name or getattr(network, "__name__", type(network).__name__)
        self.source: UserCode | None = None
        self.input_dtype = input_dtype
        self.final_options = dict(final_options or {})
        self._given: dict[str, Any] = {"rules": rules, "text": text, "canonical": canonical}
        self._canonical = canonical
        known = declared_options(network)
        options = network_options(network, str(self.name), options)
        takes_shape = "input_shape" in inspect.signature(network).parameters
        if input_shape is None:
            if not takes_shape or known["input_shape"] is inspect.Parameter.empty:
                raise SpaceError(f"space {self.name!r} needs input_shape, such as (3, 32, 32)")
            input_shape = known["input_shape"]
        self.input_shape = tuple(int(n) for n in input_shape)
        if any(n < 1 for n in self.input_shape):
            raise SpaceError(f"input_shape {self.input_shape} has a side below 1")
        self._arguments = dict(options)
        if takes_shape:
            self._arguments["input_shape"] = self.input_shape
        self._defaults = {k: v for k, v in known.items() if v is not inspect.Parameter.empty}
        self.options: dict[str, Any] = {
            **self._defaults,
            **options,
            "input_shape": self.input_shape,
        }
        # The function may return a module that it did not make, such as a pretrained backbone. Then
        # every network gets a copy: none moves it, trains it, or finds what another one left.
        self._from_outside = False
        found = self._find()
        super().__init__(found.decisions, rules(self.options) if callable(rules) else tuple(rules))
        self._text: Text | None = text(self.options) if callable(text) else text
        self._norm_calls = found.norm_calls
        self.output_shape: tuple[int, ...] = found.output_shape

    @classmethod
    def check_own_options(cls, options: Mapping[str, Any]) -> None:
        """Refuse wrong values of :attr:`own_options`, before there are images.

        Args:
            options: All options of the space.

        Raises:
            OptionError: A value is wrong.
        """

    def build(
        self,
        architecture: Mapping[str, str],
        weights_from: Supernet | None = None,
        *,
        path: bool = False,
    ) -> nn.Module:
        """Return the network of this architecture, a plain module without trace of the search.

        Args:
            architecture: An option for every decision.
            weights_from: Supernet of this space whose weights are copied. Affine terms of
                BatchNorm that a supernet leaves out start fresh. A supernet never updates running
                statistics; run some batches in training mode to estimate them.
            path: Whether the network is that of a path of a supernet, for which rules on final
                networks (:attr:`Rule.final`) need not hold.

        Raises:
            ArchitectureError: The architecture does not belong to this space.
        """
        checked = self.check(architecture, path=path)
        network, _ = self._make(lambda: BuildChoice(checked))
        if weights_from is not None:
            with torch.no_grad():
                _inherit(network, weights_from.network, checked, weights_from.slices)
        return network

    def supernet(self, *, seed: int | None = None) -> Supernet:
        """Return a network that holds every option, the first option of each decision active.

        Args:
            seed: Seed from which each option gets initial weights that depend on its name, and not
                on its place among the options; None draws them from the global generator.
        """
        network, _ = self._make(lambda: DeclareChoices(searching=True, seed=seed))
        return Supernet(network, self._norm_calls)

    def opened(self) -> nn.Module:
        """Return the final network with every option in it, on torch's default device.

        Costs are counted and measured on it: unlike in a supernet, BatchNorm is that of a built
        network. No option is chosen, so only :meth:`visit` can run it.

        Raises:
            SpaceError: The final network asks for other decisions than the supernet.
        """
        opened, choose = self._make(lambda: DeclareChoices(searching=False))
        asked = [decision.name for decision in choose.decisions()]
        missing = [d.name for d in self.decisions if d.name not in asked]
        if missing or len(asked) > len(self.decisions):
            raise SpaceError(
                f"space {self.name!r} asks for other decisions where choose.searching is False: "
                f"{', '.join(asked)} instead of {', '.join(d.name for d in self.decisions)}"
            )
        return opened.eval()

    def visit(
        self,
        opened: nn.Module,
        around: Callable[[Condition], contextlib.AbstractContextManager[Any]],
        batch: int = 2,
    ) -> Any:
        """Run every option of a network once on the meta device; return the network's output.

        Args:
            opened: Network of :meth:`opened`, made on the meta device. It cannot be used again.
            around: Returns a context in which an option runs, given the (decision, option) pairs
                under which it stands, its own last.
            batch: Number of inputs at once.

        Raises:
            SpaceError: Options of one decision have outputs of different shapes, or one fails.
        """
        with as_space_error(self._run_on(self.input_shape)), on_meta():
            return visit_options(opened, self._example(self.input_shape, batch), around).output

    def with_options(self, **options: Any) -> SearchSpace:
        """Return the same decisions at another size (channels, cells, classes, input shape).

        Args:
            options: Options of the network that change, and ``input_shape``.

        Raises:
            SpaceError: The options would change the decisions.
        """
        shape = options.pop("input_shape", self.input_shape)
        arguments = {k: v for k, v in self._arguments.items() if k != "input_shape"}
        other = type(self)(
            self.network,
            shape,
            name=self.name,
            input_dtype=self.input_dtype,
            final_options=self.final_options,
            **self._given,
            **{**arguments, **options},
        )
        if other.decisions != self.decisions:
            raise SpaceError(
                f"with {options} space {self.name!r} has other decisions; make a new space instead"
            )
        other.source = self.source
        return other

    def format(self, architecture: Mapping[str, str]) -> str:
        """Return the architecture in the space's text form."""
        return self._text[0](architecture) if self._text else super().format(architecture)

    def parse(self, text: str) -> Architecture:
        """Return the architecture written in the space's text form.

        Raises:
            ArchitectureError: The text does not have that form, or is not of this space.
        """
        return self.check(self._text[1](text)) if self._text else super().parse(text)

    @property
    def identity(self) -> dict[str, Any]:
        """Identity stored in shared files: the space's name and, for user code, its hash.

        The name of a user's file stands there without its folder.
        """
        if self.source is None:
            return {"space": str(self.name), "space_code": None}
        name = f"{self.source.path.name}:{self.source.attribute}"
        return {"space": name, "space_code": self.source.fingerprint()}

    @property
    def plain_options(self) -> dict[str, Any]:
        """The options as plain data for JSON and YAML; other objects by their ``repr``."""
        return {name: as_plain(value) for name, value in self.options.items()}

    @property
    def plain_defaults(self) -> dict[str, Any]:
        """The defaults of the options, in the form of :attr:`plain_options`."""
        return {name: as_plain(value) for name, value in self._defaults.items()}

    def canonical(self, architecture: Mapping[str, str]) -> Architecture:
        """Return the architecture that stands for all that make the same network.

        Use it to compare and count networks. Architectures with the same canonical form are
        equivalent, as far as the space knows: a node may be cut off, a skipped block could stand
        elsewhere, or a nested decision is not asked.
        """
        return super().canonical(self._canonical(architecture) if self._canonical else architecture)

    def draw(
        self,
        architecture: Mapping[str, str],
        layout: Literal["auto", "graphviz", "own"] = "auto",
    ) -> Picture:
        """Return an SVG picture of the architecture: text that a notebook shows as an image.

        Cells are drawn as graphs, other architectures as a chain of boxes. Rules are not
        checked, so paths of a supernet can be drawn too.

        Args:
            architecture: An option for every decision.
            layout: Layout of cells. "auto" uses Graphviz if its program ``dot`` is installed.
        """
        return draw(self, architecture, layout)

    def __repr__(self) -> str:
        return f"<SearchSpace {self.name}: {len(self.decisions)} decisions, size {self.size:,}>"

    def _find(self) -> _Found:
        """Check the network and its widths; return what that told."""
        if not self._published:
            return self._check()
        arguments = repr(sorted(self._arguments.items()))
        key = self.network, arguments, self.input_shape, self.input_dtype
        if key not in _found:
            _found[key] = self._check()
        return _found[key]

    @property
    def _published(self) -> bool:
        """Whether the network is one of ddpnas itself.

        Such a function depends on its arguments alone, so one check in a process is enough, and the
        test suite tries its widths. The function of a user may read what changes.
        """
        return getattr(self.network, "__module__", "").startswith("ddpnas.spaces.")

    def _check(self) -> _Found:
        # All objects stay until the end, so collections in between would find nothing.
        with without_collections():
            with torch.device("meta"):
                opened, choose = self._make(lambda: DeclareChoices(searching=True))
            return self._open(choose, opened)

    def _open(self, choose: DeclareChoices, opened: nn.Module) -> _Found:
        """Check an open network and its widths; return what that told."""

        def run(network: nn.Module) -> Any:
            return self.visit(network, lambda pairs: contextlib.nullcontext())

        def make(sizes: Mapping[str, int]) -> nn.Module:
            return self._make(lambda: DeclareChoices(searching=True, widths=sizes))[0]

        decisions = choose.decisions()
        widths = [d for d in decisions if d.ordered]
        try:
            # Both modes run here. The trials of widths below tell nothing new, so they are spared
            # the slow observer.
            with note_calls(opened) as norm_calls:
                output = main_output(self._check_network(opened, choose))
        except SpaceError as error:
            if len(widths) < 2:
                raise
            largest = {d.name: int(d.options[-1]) for d in widths}
            raise SpaceError(explain_failure(error, largest, widths, make, run)) from error
        if widths and not self._published:
            check_widths(opened, widths, make, run)
        shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        return _Found(tuple(decisions), shape, norm_calls)

    def _make(
        self, new: Callable[[], Chooses], input_shape: tuple[int, ...] | None = None
    ) -> tuple[nn.Module, Chooses]:
        """Return the network, on torch's default device, and the ``choose`` that it was given.

        Args:
            new: Makes the ``choose``.
            input_shape: Another input than that of the space.
        """
        shape, arguments = input_shape or self.input_shape, dict(self._arguments)
        if "input_shape" in arguments:
            arguments["input_shape"] = shape

        def make() -> tuple[Any, Chooses]:
            choose = new()
            return self.network(choose, **arguments), choose

        with as_space_error(
            f"the network of space {self.name!r} cannot be made with {self.options};"
        ):
            module, choose = make_network(make)
        if not isinstance(module, nn.Module):
            raise SpaceError(f"space {self.name!r} made {type(module).__name__}, not a module")
        on_meta_device = torch.get_default_device().type == "meta"
        tensors = _tensors(module)
        if on_meta_device and not all(tensor.is_meta for tensor in tensors):
            self._from_outside = True
        if self._from_outside:
            # torch cannot copy a lazy buffer, which holds nothing.
            lazy: dict[int, Any] = {
                id(b): type(b)(device=b.device, dtype=b.dtype)  # type: ignore[call-arg]
                for b in filter(is_lazy, module.buffers())
            }
            module, choose = copy.deepcopy((module, choose), lazy)
        fix_widths(module)
        if on_meta_device:
            move_to_meta(module)
        if any(map(is_lazy, tensors)):
            training = module.training
            with as_space_error(self._run_on(shape)):  # lazy modules take their shapes from it
                visit_options(
                    module.eval(), self._example(shape), lambda _: contextlib.nullcontext()
                )
            forget_visit(module.train(training))
        return module, choose

    def _check_network(self, opened: nn.Module, choose: DeclareChoices) -> Any:
        """Check the network in both modes and return its output.

        If it fails, but runs on a larger image, the error says so.
        """
        try:
            return self._check_on(self.input_shape, opened, choose)
        except SpaceError as error:
            if error.__cause__ is None or len(self.input_shape) != 3:
                raise
            channels, height, width = self.input_shape
            for factor in (2, 4, 8, 16):
                larger = channels, factor * height, factor * width
                try:
                    with torch.device("meta"):
                        made = self._make(lambda: DeclareChoices(searching=True), larger)
                    self._check_on(larger, *made)
                except SpaceError:
                    continue
                raise SpaceError(
                    f"{error}; the input is too small: it runs on {_sides(larger)}, so give a "
                    f"larger one (images: --image-size)"
                ) from error
            raise

    def _check_on(self, shape: tuple[int, ...], opened: nn.Module, choose: DeclareChoices) -> Any:
        with on_meta():
            return check_network(opened, self._example(shape), self._run_on(shape), choose.made)

    def _run_on(self, shape: tuple[int, ...]) -> str:
        return f"the network of space {self.name!r} on an input of {_sides(shape)}"

    def _example(self, shape: tuple[int, ...], batch: int = 2) -> Tensor:
        return torch.zeros(batch, *shape, dtype=self.input_dtype)


class _Found(NamedTuple):
    """What the check of a network tells.

    Attributes:
        decisions: The decisions that it asks for.
        output_shape: Shape of its output, without the batch.
        norm_calls: Its calls that normalize.
    """

    decisions: tuple[Decision, ...]
    output_shape: tuple[int, ...]
    norm_calls: NormCalls


_found: dict[Any, _Found] = {}  # of published spaces, by function and arguments


def _sides(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape)


def _tensors(network: nn.Module) -> list[Tensor]:
    """Return its parameters and buffers, found in one pass."""
    own = (t for m in network.modules() for t in (*m._parameters.values(), *m._buffers.values()))
    return [tensor for tensor in own if tensor is not None]


def _inherit(
    network: nn.Module, source: nn.Module, architecture: Mapping[str, str], slices: Slices
) -> None:
    """Copy weights and buffers of ``source`` along the path of the architecture."""
    while isinstance(source, Choice):
        source = source.options[source.names.index(architecture[source.decision])]
    tensors = slices.tensors(source, {d: int(architecture[d]) for d in slices.decisions})
    for name, tensor in {**network._parameters, **network._buffers}.items():
        found = tensors.get(name)
        if tensor is not None and found is not None:
            tensor.copy_(found)
    # Not named_children(), which leaves out a module's second name where it is shared.
    for name, child in network._modules.items():
        if child is not None and (found_child := source._modules.get(name)) is not None:
            _inherit(child, found_child, architecture, slices)

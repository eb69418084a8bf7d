"""Processes that search or train together, and how they communicate.

``torchrun`` or ``accelerate launch`` starts several processes with the same command. Each does
the same search with the same random numbers on its shard of every batch; values that depend on
the whole batch are summed over all processes. So all hold the same weights, make the same
decisions, and end with the result of a single process up to rounding, which a long training in
float32 amplifies.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, distributed

from ddpnas.data.augment import Shard
from ddpnas.errors import DdpnasError, OptionError, RunError

__all__ = [
    "ALONE",
    "Processes",
    "abandon",
    "current",
    "first_to_fail",
    "is_main_process",
    "join",
    "launched",
    "leave",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """One of the processes that work together; all of them call every method in the same order.

    Attributes:
        rank: Number of this process; process 0 writes and prints.
        size: Number of processes.
        device: Device of this process.

    Example:
        >>> Processes().first, Processes(rank=1, size=4).shard
        (True, Shard(rank=1, size=4))
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    @property
    def shard(self) -> Shard:
        """The part of every batch that is this process's."""
        return Shard(self.rank, self.size)

    def on_first(self, call: Callable[[], T]) -> T | None:
        """Return what the call gives on the first process, None on the others.

        Raises:
            DdpnasError: the one that the call raised, on all.
        """
        value: T | None = None
        error: DdpnasError | None = None
        if self.first:
            try:
                value = call()
            except DdpnasError as raised:
                error = raised
        if (shared := self.share(error)) is not None:
            raise shared
        return value

    def share(self, value: T) -> T:
        """Return the first process's value."""
        if self.size == 1:
            return value
        box = [value]
        with _heard():
            distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def sum(self, numbers: Tensor) -> Tensor:
        """Return the sum over all processes, in the place of the numbers given.

        Numbers on another device than that of the process are copied to it first.
        """
        if self.size > 1:
            numbers = numbers.to(self.device)  # as in all processes, or they cannot be summed
            with _heard():
                distributed.all_reduce(numbers)
        return numbers

    def gather(self, numbers: Tensor) -> Tensor:
        """Return the numbers of all processes, of shape (size, *shape of the numbers)."""
        if self.size == 1:
            return numbers[None]
        every = numbers.new_empty((self.size, *numbers.shape))
        with _heard():
            distributed.all_gather(list(every.unbind()), numbers.contiguous())
        return every

    def weighted(self, loss: Tensor, items: int) -> Tensor:
        """Return the loss to call ``backward`` on, before :meth:`average_gradients`.

        Args:
            loss: Mean over this process's shard of a batch.
            items: Number of items in that shard.
        """
        return loss if self.size == 1 else loss * items

    def average_gradients(self, parameters: Iterable[Tensor], loss: Tensor, items: int) -> Tensor:
        """Turn gradients into those of the mean loss over the whole batch; return that loss.

        Args:
            parameters: Parameters with the gradients of :meth:`weighted` losses.
            loss: What :meth:`weighted` returned, detached, or a sum of several such losses.
            items: Number of items in this process's shard of the batch.
        """
        if self.size == 1:
            return loss
        gradients = [p.grad for p in parameters if p.grad is not None]
        ends = torch.stack([loss, loss.new_tensor(float(items))])
        flat = self.sum(torch.cat([*(g.reshape(-1) for g in gradients), ends]))
        flat /= flat[-1].clone()
        _spread(flat, gradients)
        return flat[-2]

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Set the tensors to what the first process holds."""
        if self.size == 1:
            return
        for dtype in dict.fromkeys(t.dtype for t in tensors):  # in the same order in all
            alike = [t for t in tensors if t.dtype == dtype]
            flat = torch.cat([t.detach().reshape(-1) for t in alike])
            with _heard():
                distributed.broadcast(flat, src=0)
            _spread(flat, alike)

    def check_equal(self, what: str, text: str, tensors: Iterable[Tensor] = ()) -> None:
        """Check that all processes hold the same text and the same bits in the tensors.

        Raises:
            RunError: A process differs, so its results would too.
        """
        if self.size == 1:
            return
        digest = hashlib.sha256(text.encode()).digest()
        sums = [_bits(tensor) for tensor in tensors]
        mine = torch.tensor(int.from_bytes(digest[:7]), device=self.device)
        every = self.gather(torch.stack([mine, *([torch.stack(sums).sum()] if sums else [])]))
        different = (every != every[0]).any(dim=1).nonzero().flatten().tolist()
        if different:
            raise RunError(
                f"process {different[0]} and process 0 hold different {what}; run the same "
                f"versions on the same data in all processes"
            )


ALONE = Processes()
_joined: Processes | None = None


def launched() -> int:
    """Return how many processes torchrun or accelerate started together; 1 without either."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def current() -> Processes:
    """Return the processes that :func:`join` found, or this one alone."""
    return _joined or ALONE


def join(device: str = "auto") -> Processes:
    """Return the processes started together with this one, connected.

    Args:
        device: "auto", "cpu" or a kind of accelerator; each process then takes a device of that
            kind for itself.

    Raises:
        OptionError: The device is a single one, which they cannot share.
    """
    global _joined
    if launched() == 1:
        return ALONE
    if _joined is None:
        from accelerate import PartialState

        if ":" in device:
            raise OptionError(
                f"{launched()} processes cannot share the device {device!r}; give its kind, "
                f"{device.split(':')[0]}, and each takes its own"
            )
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        on_cpu = device == "cpu" or (device == "auto" and accelerator is None)
        state = PartialState(cpu=on_cpu)
        _joined = Processes(state.process_index, state.num_processes, state.device)
    return _joined


def first_to_fail() -> bool:
    """Return whether this process is the first that failed, so that it prints why. Asked once."""
    if not _connected():  # what fails before they are fails in all alike
        return int(os.environ.get("RANK", "0")) == 0
    try:
        store = distributed.distributed_c10d._get_default_store()
        return bool(store.add("ddpnas/failed", 1) == 1)
    except RuntimeError:  # the process that kept the store is gone, so it failed before
        return False


def leave() -> None:
    """Part from the other processes, if any, once all are here; nothing can follow."""
    global _joined
    _joined = None
    if _connected():
        with _heard():
            distributed.barrier()
        distributed.destroy_process_group()


def abandon(code: int) -> int:
    """Return the exit code of a command that failed; of several processes, end here with it.

    Taking down a group of which a process is gone may abort the others instead.
    """
    if _connected():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _connected() -> bool:
    return distributed.is_available() and distributed.is_initialized()


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    """Turn a broken connection into the sentence that another process has ended."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        sentence = f"another process of this run has ended, so this one stops ({reason})"
        raise RunError(sentence) from error


def _spread(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    """Copy a row of numbers into the tensors, one after another."""
    start = 0
    with torch.no_grad():
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view(tensor.shape))
            start += tensor.numel()


def _bits(tensor: Tensor) -> Tensor:
    """Return the sum of the tensor's bits read as whole numbers."""
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = tensor.detach().reshape(-1).view(whole[tensor.element_size()])
    return bits.sum(dtype=torch.int64)


def is_main_process() -> bool:
    """Return whether this process is the first, or the only one, of those that were launched."""
    return int(os.environ.get("RANK", "0")) == 0

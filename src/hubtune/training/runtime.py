"""The device, the precision and the processes a training runs on."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from hubtune.errors import ConfigurationError, HubTuneError

PRECISIONS = ("no", "bf16")
PATIENCE = timedelta(days=1)
"""How long processes wait for what the main one does alone, such as a search; torchrun ends them at once when one of them fails."""

Found = TypeVar("Found")


def usable_device(name: str, field: str = "device") -> torch.device:
    """A device that is there.

    Args:
        name: such as "cpu" or "cuda:1".
        field: what asked for it, named if it is not there.

    Raises:
        ConfigurationError: the name is none, or this machine has no such device.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts that there is CUDA
        raise ConfigurationError(
            f"{field} = {name!r} is not known or not there ({(str(error).splitlines() or [''])[0]}); "
            "expected a name such as 'cpu' or 'cuda:0'"
        ) from error
    return device


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how the arithmetic is done. Several processes are started with torchrun; each takes its share of every batch."""

    device_name: str | None = None
    """Such as "cpu" or "cuda:1"; None is the best one there is."""
    precision: str = "no"
    """Mixed precision of forward passes: "no" or "bf16"."""
    alone: bool = False
    """Whether this process works by itself, whatever others there are."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigurationError(f"precision {self.precision!r} is not known; expected one of {', '.join(PRECISIONS)}")

    @cached_property
    def _state(self):
        from accelerate import PartialState

        return PartialState(cpu=self.device_name == "cpu", timeout=PATIENCE)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: a worker elsewhere finds its own devices and processes."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @cached_property
    def device(self) -> torch.device:
        return usable_device(self.device_name or str(self._state.device))

    @property
    def processes(self) -> int:
        return 1 if self.alone else self._state.num_processes

    @property
    def rank(self) -> int:
        return 0 if self.alone else self._state.process_index

    @property
    def is_main(self) -> bool:
        return self.alone or self._state.is_main_process

    def seed(self, seed: int) -> None:
        """Seed what is drawn on the CPU and on the device: ``torch.manual_seed``, without a visit to every other accelerator."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def wait(self) -> None:
        """Wait for the other processes."""
        self._state.wait_for_everyone()

    def on_main(self, find: Callable[[], Found]) -> Found:
        """What the main process finds, told to all; the others wait for it. An error that it ends in is raised in all.

        Args:
            find: its answer can be pickled.
        """
        if self.processes == 1:
            return find()
        told: list[Any] = [None, None]
        if self.is_main:
            try:
                told = [find(), None]
            except HubTuneError as error:
                told = [None, error]
        torch.distributed.broadcast_object_list(told)
        if told[1] is not None:
            raise told[1]
        return told[0]

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes of a value that each has."""
        if self.processes == 1:
            return value
        total = value.detach().clone()
        torch.distributed.all_reduce(total)
        return total / self.processes

    def autocast(self) -> contextlib.AbstractContextManager:
        if self.precision == "no":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over the processes, so that each makes the step of the whole batch.

        A parameter that has a gradient in one process only counts as zero in the others.
        """
        if self.processes == 1:
            return
        for parameter in parameters:
            if parameter.requires_grad:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= self.processes

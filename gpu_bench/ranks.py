"""Ranks: processes started by torchrun that share a model, its epochs and its configuration.

>>> ranks = Ranks.join("cpu")
>>> ranks.first, ranks.size, ranks.sum(torch.ones(2))
(True, 1, tensor([1., 1.]))
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gpu_bench.data.batches import check_device
from mirrorflow.checks import InputError, whole
from mirrorflow.runs.stopping import end_with

__all__ = ["Ranks"]

# Longer than the others ever wait for one: rank 0 alone writes checkpoints and figures.
TIMEOUT = timedelta(minutes=10)
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train one model together.

    A single process is a world of one: no process group is made, and every method leaves what it
    is given as it is. Otherwise methods are collective: all ranks must call them, in the same
    order.

    Attributes
    ----------
    rank, size : int
        This process's number, from 0, and how many there are.
    device : torch.device
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def join(cls, device: str | torch.device = "cpu") -> Ranks:
        """Join the processes that torchrun started, by NCCL on CUDA and by gloo on the CPU.

        Parameters
        ----------
        device : str or torch.device
            "cuda" becomes cuda:LOCAL_RANK where there are several ranks.

        Raises
        ------
        InputError
            If the device can't be used here, torchrun's variables are incomplete, or a machine
            has more ranks than CUDA devices.
        """
        chosen = check_device(device)
        size, rank, local = _numbers(os.environ)
        if size == 1:
            return cls(device=chosen)
        end_with(os.getppid())  # torchrun gives ranks a session of their own, which outlives it
        if chosen.type == "cuda":
            devices = torch.cuda.device_count()
            if chosen.index is not None:
                raise InputError(
                    f"device must be 'cuda' where there are several ranks, each on a device of "
                    f"its own, but it is {str(chosen)!r}."
                )
            if local >= devices:
                raise InputError(
                    f"--nproc-per-node must be at most the number of CUDA devices ({devices}), "
                    f"but LOCAL_RANK is {local}."
                )
            chosen = torch.device("cuda", local)
            torch.cuda.set_device(chosen)
            dist.init_process_group(
                "nccl", timeout=TIMEOUT, world_size=size, rank=rank, device_id=chosen
            )
        else:
            dist.init_process_group("gloo", timeout=TIMEOUT, world_size=size, rank=rank)
        return cls(rank, size, chosen)

    def leave(self) -> None:
        """End the process group, once all ranks have come here."""
        if self.size > 1:
            self.barrier()
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this is rank 0, the only one to write."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until all ranks have come here."""
        if self.size > 1:
            dist.barrier()

    def sum(self, tensor: Tensor) -> Tensor:
        """Replace `tensor` by its sum over the ranks, in place, the same bits on each; return it.

        `tensor` is on `device` and contiguous.
        """
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Replace `tensor` by rank 0's, in place; return it.

        `tensor` is on `device`, contiguous, and of the same shape and dtype on all ranks.
        """
        if self.size > 1:
            dist.broadcast(tensor, 0)
        return tensor

    def agree(self, text: str) -> None:
        """Compare the ranks' texts: their configurations, what they are about to resume.

        Raises
        ------
        InputError
            On every rank, if one's text is not that of rank 0; the ranks are named.
        """
        if self.size == 1:
            return
        digest = bytearray(hashlib.sha256(text.encode()).digest())
        mine = torch.frombuffer(digest, dtype=torch.uint8).to(self.device)
        gathered = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(gathered, mine)
        odd = [rank for rank, other in enumerate(gathered) if not torch.equal(other, gathered[0])]
        if odd:
            raise InputError(
                f"the ranks must agree on their configuration and on what they resume, but "
                f"{'ranks' if len(odd) > 1 else 'rank'} {', '.join(map(str, odd))} "
                f"{'differ' if len(odd) > 1 else 'differs'} from rank 0; start them with the "
                f"same flags, code and files."
            )

    def average_buffers(self, model: nn.Module) -> None:
        """Average the model's floating buffers (batch norm's running mean and variance) in place.

        Counters stay. Ranks that don't share batch statistics must do this before they evaluate
        or save, or each has another network.
        """
        if self.size == 1:
            return
        for buffer in model.buffers():
            if buffer.is_floating_point():
                self.sum(buffer).div_(self.size)

    def synchronise_batch_norm(self, model: nn.Module) -> nn.Module:
        """Let batch norm take its statistics over the batches of all ranks together.

        Then R ranks with B/R images each compute what one process computes with B; without, each
        layer is normalised by the rank's own images, and the result depends on R. Torch's
        SyncBatchNorm on CUDA; on the CPU, where torch has none, a module of our own, for batches
        of the same size on all ranks. Parameters and buffers are the same tensors under the same
        names: the state_dict stays that of the plain model.

        Returns
        -------
        nn.Module
            `model`, changed in place.
        """
        if self.size == 1:
            return model
        if self.device.type == "cuda":
            return nn.SyncBatchNorm.convert_sync_batchnorm(model)
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = _SharedBatchNorm2d  # same state, another forward
        return model

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return a module whose backward pass leaves the ranks' mean gradient on each of them.

        DistributedDataParallel, which writes into the `.grad` tensors that it finds: let them be
        views of one vector (`gpu_bench.flat.Flat`, made before or after), zeroed before each
        backward pass, never set to None. Weights start as rank 0's. Batch norm's statistics stay
        each rank's own. Its `state_dict` has other names: save that of `model`. A world of one
        gets `model` itself.
        """
        if self.size == 1:
            return model
        device_ids = [self.device] if self.device.type == "cuda" else None
        known = inspect.signature(DistributedDataParallel).parameters
        renamed = "forward_sync_buffers" in known  # since torch 2.13
        sharing = "forward_sync_buffers" if renamed else "broadcast_buffers"
        more: dict[str, Any] = {sharing: False}
        return DistributedDataParallel(model, device_ids=device_ids, **more)


def _numbers(environment: Mapping[str, str]) -> tuple[int, int, int]:
    """Read WORLD_SIZE, RANK and LOCAL_RANK; (1, 0, 0) where torchrun is not at work."""
    if "WORLD_SIZE" not in environment:
        return 1, 0, 0
    missing = [name for name in VARIABLES if name not in environment]
    if missing:
        raise InputError(
            f"WORLD_SIZE is set but {' and '.join(missing)} not; start the ranks with torchrun."
        )
    try:
        size, rank, local = (int(environment[k]) for k in ("WORLD_SIZE", "RANK", "LOCAL_RANK"))
    except ValueError:
        values = ", ".join(f"{name}={environment[name]!r}" for name in VARIABLES[:3])
        raise InputError(f"torchrun's variables must be whole numbers, but {values}.") from None
    whole("RANK", rank, 0, whole("WORLD_SIZE", size, 1) - 1)
    return size, rank, whole("LOCAL_RANK", local, 0)


class _Sum(torch.autograd.Function):
    """Σ over the ranks; its derivative is the sum of the ranks' derivatives."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient.contiguous())


class _SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over all ranks' images in training; in evaluation the plain one."""

    # never None with batch norm's defaults
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor | None
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape and dtype; B is the same on every rank."""
        if not self.training:
            return super().forward(x)
        wide = x.to(self.weight.dtype)  # autocast hands over bfloat16
        count = dist.get_world_size() * wide.numel() // wide.shape[1]
        axes = (0, 2, 3)
        mean = _Sum.apply(wide.sum(axes, keepdim=True)) / count
        # Σ(x − mean)², not Σx² − mean²: the difference of two large numbers loses digits
        centred = wide - mean
        variance = _Sum.apply(centred.square().sum(axes, keepdim=True)) / count
        with torch.no_grad():
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * (count / (count - 1)), self.momentum)
        scale = self.weight.view(1, -1, 1, 1) * (variance + self.eps).rsqrt()
        return (centred * scale + self.bias.view(1, -1, 1, 1)).to(x.dtype)

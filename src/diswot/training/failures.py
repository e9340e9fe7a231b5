"""What can go wrong while a network trains, said in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor
from torch.multiprocessing.spawn import ProcessException, ProcessExitedException

from diswot.data.training import Batch
from diswot.errors import UserError

if TYPE_CHECKING:
    from diswot.training.module import Distillation

__all__ = ["LossError", "explained", "refuse_loss"]


class LossError(Exception):
    """A loss that is not finite.

    Attributes:
        told: Which loss, where.
        batch: What is needed to look into it.
    """

    def __init__(self, told: str, batch: dict[str, object]) -> None:
        super().__init__(told)
        self.batch = batch


def refuse_loss(
    module: Distillation, batch: Batch, losses: Mapping[str, Tensor], number: int
) -> NoReturn:
    """Stop at a loss that is not finite.

    Raises:
        LossError: Always; with the batch, the losses and the student's weights.
    """
    images, labels, indices = (tensor.cpu() for tensor in batch)
    values = {name: loss.item() for name, loss in losses.items()}
    shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    raise LossError(
        f"the loss is not finite in epoch {module.current_epoch}, batch {number} ({shown})",
        {
            "epoch": module.current_epoch,
            "batch": number,
            "losses": values,
            "images": images,
            "labels": labels,
            "indices": indices,
            "student": {name: value.cpu() for name, value in module.student.state_dict().items()},
        },
    )


@contextmanager
def explained(folder: Path, batch_size: int, num_workers: int) -> Iterator[None]:
    """Turn what can be mended by other settings into one line.

    Args:
        folder: The run directory; takes the batch of a loss that is not finite.
        batch_size: Images of a batch.
        num_workers: Processes that load images.

    Raises:
        UserError: See above.
    """
    try:
        yield
    except LossError as error:
        file = folder / "not_finite.pt"
        torch.save(error.batch, file)
        raise UserError(
            f"{error}; the batch is kept in {file}. Try a smaller trainer.optimizer.lr, "
            "trainer.gradient_clip=5 or a smaller distiller weight, in another hydra.run.dir"
        ) from error
    except (UserError, ProcessException) as error:
        raise _of_another_process(error) from error
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in text:
            raise UserError(
                f"out of memory with data.batch_size={batch_size}; try "
                f"data.batch_size={max(1, batch_size // 2)}"
            ) from error
        if "DataLoader worker" in text:
            raise UserError(
                f"a process that loads images was killed, often for want of memory; with fewer "
                f"than data.num_workers={num_workers} the same command goes on from the last "
                "finished epoch"
            ) from error
        raise


def _of_another_process(error: UserError | ProcessException) -> Exception:
    """What a process that loads or trains had to say, without the traceback before it."""
    _, found, told = str(error).rpartition("UserError: ")
    if found or isinstance(error, UserError):
        return UserError(told.strip())
    if isinstance(error, ProcessExitedException) and error.signal_name:
        return UserError(
            f"one of the processes of trainer.devices was killed ({error.signal_name}), often for "
            "want of memory; the same command goes on from the last finished epoch"
        )
    return error

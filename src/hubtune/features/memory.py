"""Recognising that a batch did not fit."""

import torch


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out, on whatever device."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "out of memory" in str(error).lower()

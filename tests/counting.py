"""Counting what a step asks of a device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

NO_WORK = {"empty", "new_empty", "empty_like", "detach", "lift_fresh", "_unsafe_view"}


class Dispatched(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has left it without
    """Counts operations by name, without views and without what only asks for memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func._schema.returns
        view = bool(returned) and returned[0].alias_info is not None and not returned[0].alias_info.is_write
        name = func._schema.name.removeprefix("aten::")
        if not view and name not in NO_WORK:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def dispatched(step: Callable[[], object]) -> Counter[str]:
    """Return the operations that a step dispatches to a device."""
    with Dispatched() as mode, torch.no_grad():
        step()
    found: Counter[str] = mode.found
    return found

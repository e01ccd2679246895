"""The estimate of how long a song takes, measured in a separate thread before anything long starts."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import ipywidgets as widgets

from jukebox_kit.engine import Placement, usable_device
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model.weights import ModelDefinition, load_definition
from jukebox_kit.notebook.markup import styled_text
from jukebox_kit.notebook.session import Session
from jukebox_kit.steps import BUCKETS, Measured, estimate, plan_memory


class EstimateLine:
    """Shows time and batch size for the current form. Each model is measured once."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.box = widgets.HTML()
        self.box.add_class("jk-estimate")
        self._wanted: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def ask(self, given: dict[str, Any] | None) -> None:
        """Estimate for the fields of a request; None if they are not valid yet."""
        with self._lock:
            self._wanted = given
            if given is None or self.session.worker.state.busy or (self._thread and self._thread.is_alive()):
                return
            # Not a daemon: a thread that computes while the interpreter exits crashes it. It takes seconds.
            self._thread = threading.Thread(target=self._run, name="jukebox_kit estimate")
            self._thread.start()

    def _run(self) -> None:
        """Estimate until the latest fields are done."""
        current: dict[str, Any] | None = None
        while True:
            with self._lock:
                if self._wanted is current or self._wanted is None:
                    self._thread = None
                    return
                current = self._wanted
            try:
                text = styled_text(
                    describe_estimate(load_definition(current["model"]), current["seconds"], current["items"])
                )
            except (JukeboxKitError, RuntimeError) as error:  # from torch, if memory is too small even to measure
                text = styled_text(f"no estimate: {error}", "note")
            self.box.value = text


def describe_estimate(definition: ModelDefinition, seconds: float, items: int) -> str:
    """Return an estimate measured on this machine, as text."""
    device = usable_device(None)
    plan = plan_memory(definition, seconds, items, device)
    if not plan.fits:
        return plan.reason
    return estimate(definition, seconds, items, Placement(device, plan.weights), measured=_measured()).summary


def describe_fit(definition: ModelDefinition) -> str:
    """Return the precision and batch sizes that fit into this machine's memory, as text; measures nothing."""
    plan = plan_memory(definition, definition.seconds_range[0], BUCKETS[-1], usable_device(None))
    if not plan.fits:
        return plan.reason
    fitting = ", ".join(str(level.batch) for level in plan.levels)
    return f"fits with {plan.weights} weights, {fitting} items per batch at levels 2, 1, 0"


@cache
def _measured() -> Measured:
    """Return this kernel's measurements; its device stays the same."""
    return Measured()

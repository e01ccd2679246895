"""The line that says how long it will take, measured in a thread of its own, before anything long starts."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import ipywidgets as widgets

from jukebox_kit.engine import Placement, usable_device
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model.weights import ModelDefinition, load_definition
from jukebox_kit.notebook.session import Session
from jukebox_kit.notebook.widgets import told
from jukebox_kit.steps import BUCKETS, Measured, estimate, plan_memory
from jukebox_kit.steps import words as said


class EstimateLine:
    """Says time and batch for the lengths asked for last. What is measured is measured once for a model."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.box = widgets.HTML()
        self.box.add_class("jk-estimate")
        self._wanted: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def ask(self, given: dict[str, Any] | None) -> None:
        """Estimate for the fields of a request; None says that they are not right yet."""
        with self._lock:
            self._wanted = given
            if given is None or self.session.worker.state.busy or (self._thread and self._thread.is_alive()):
                return
            # No daemon: one that computes while the interpreter ends takes it down. It takes seconds.
            self._thread = threading.Thread(target=self._run, name="jukebox_kit estimate")
            self._thread.start()

    def _run(self) -> None:
        """Estimate until what was asked for last is answered."""
        asked: dict[str, Any] | None = None
        while True:
            with self._lock:
                if self._wanted is asked or self._wanted is None:
                    self._thread = None
                    return
                asked = self._wanted
            try:
                said = told(words(load_definition(asked["model"]), asked["seconds"], asked["items"]))
            except (JukeboxKitError, RuntimeError) as error:  # torch, where memory does not suffice even to measure
                said = told(f"no estimate: {error}", "note")
            self.box.value = said


def words(definition: ModelDefinition, seconds: float, items: int) -> str:
    """Return an estimate for a person, measured here."""
    device = usable_device(None)
    plan = plan_memory(definition, seconds, items, device)
    if not plan.fits:
        return plan.reason
    return said(estimate(definition, seconds, items, Placement(device, plan.weights), measured=_measured()))


def room(definition: ModelDefinition) -> str:
    """Return how many items at once fit into this machine's memory, for a person, without any measuring."""
    plan = plan_memory(definition, definition.seconds_range[0], BUCKETS[-1], usable_device(None))
    if not plan.fits:
        return plan.reason
    fitting = ", ".join(str(level.batch) for level in plan.levels)
    return f"fits with {plan.weights} weights, {fitting} items at once at levels 2, 1, 0"


@cache
def _measured() -> Measured:
    """Return what this kernel has measured; its device stays the same."""
    return Measured()

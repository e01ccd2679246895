"""The form: the fields of a request, each checked as it is typed, with its message right below it."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from jukebox_kit.engine import Model
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.model import TOP, Tables, dropped_characters
from jukebox_kit.model.weights import ModelDefinition
from jukebox_kit.notebook.sections.model import ModelField
from jukebox_kit.notebook.sections.prompt import PromptField
from jukebox_kit.notebook.session import Session
from jukebox_kit.notebook.widgets import LABEL, WIDE, Field, NameField, text_field
from jukebox_kit.song import Request, Resolved, normalise_request, parsed, resolve
from jukebox_kit.song.lyrics import Stretch, stretches, without_times

MANY = 60  # windows; more are not listed one by one

_FILTERS = {"all tokens": None, "top-k": "top_k", "top-p": "top_p"}

_SHOWN_BELOW = {"temperature": "lower", "top_k": "limit", "top_p": "limit", "prompt_seconds": "prompt"}
"""Where the errors of fields are shown that have no widget of their own. The slider has no wrong temperatures."""


@lru_cache(maxsize=8)
def known(model: str) -> tuple[ModelDefinition, dict[str, Tables]]:
    """Return a model's definition and tables; CheckpointError if the tables are not on this machine."""
    loaded = Model.load(model, "cpu")
    return loaded.definition, loaded.tables


class Form:
    """The fields of a request. `good` holds their values, None while one is wrong; errors are shown below the field."""

    def __init__(self, prompts: Path, changed: Callable[[dict[str, Any] | None], None], session: Session) -> None:
        self.changed, self._filling = changed, False
        self.good: dict[str, Any] | None = None  # the values, while all are valid
        self.model = ModelField()
        self.lora_scale = self.model.strength
        self.artist, self.genre = NameField("artist"), NameField("genre")
        hint = "lyrics to sing; lines may begin with a time, such as [00:12.00]"
        area = widgets.Textarea(description="lyrics", rows=6, style=LABEL, layout=WIDE, placeholder=hint)
        self.lyrics = Field("lyrics", area)
        self.windows = widgets.HTML()
        self.windows.add_class("jk-windows")
        self.seconds = text_field("seconds", "seconds", "8")
        self.total_seconds = text_field("total_seconds", "total length", hint="seconds; empty: the model's default")
        self.items = text_field("items", "openings", "3")
        self.seed = text_field("seed", "seed", "0")
        slider = widgets.FloatSlider(
            min=0.5, max=1.5, step=0.01, value=0.98, description="temperature", style=LABEL, layout=WIDE
        )
        self.temperature = Field("temperature", slider)
        self.lower = text_field("lower", "level 1, level 0", "0.99, 0.99")
        filters = widgets.ToggleButtons(options=list(_FILTERS), style={"button_width": "auto"})
        self.filter = Field("filter", filters)
        self.limit = text_field("limit", "how many", "", "top-k: a whole number; top-p: from 0 to 1")
        self.prompt = PromptField(prompts, session)
        self.fields = {f.name: f for f in vars(self).values() if isinstance(f, Field)}
        for field in self.fields.values():
            field.watch(self.check)
        self.limit.box.layout.display = "none"
        self.box = self._laid_out()
        self.check()

    def check(self) -> None:
        """Update the message below each field."""
        if not self._filling:
            self.good = self.values()
            self.changed(self.good)

    def values(self) -> dict[str, Any] | None:
        """Return the fields of `Request`; None if one is wrong, which is then shown below it."""
        for field in self.fields.values():
            if field is not self.prompt:
                field.say()
        self.limit.box.layout.display = "none" if self._filter is None else ""
        try:
            definition, tables = known(self.model.value)
        except JukeboxKitError as error:
            self.model.say(str(error))
            return None
        self.model.show(definition)
        self.artist.look_up(definition, tables)
        self.genre.look_up(definition, tables)
        given = self._read(definition)
        request = None if given is None else self._request_of(given)
        if request is None or not self.prompt.ready():
            return None
        try:
            resolved = resolve(request, definition, tables)
        except JukeboxKitError as error:
            self._say_error(error)
            return None
        self._say_lyrics(request, resolved, definition)
        return given

    def request(self) -> dict[str, Any] | None:
        """Return the fields of `Request`, the prompt trimmed and saved; None if one is wrong, as its message says."""
        given = self.values()
        if given is None:
            return None
        try:
            return {**given, "prompt": self.prompt.take()}
        except JukeboxKitError as error:
            self.prompt.say(str(error))
            return None

    def list_models(self) -> None:
        """List the models again, since fine-tuning may have written some; the chosen one stays chosen."""
        known.cache_clear()
        self.fill({"model": self.model.value})

    def fill(self, values: dict[str, Any]) -> None:
        """Show the fields of a request or a preset; those not named stay as they are."""
        self._filling = True
        try:
            if "model" in values:
                self.model.choose(values["model"])
            for name, value in _shown(values).items():
                self.fields[name].widget.value = value
        finally:
            self._filling = False
        self.check()

    @property
    def _filter(self) -> str | None:
        return _FILTERS[self.filter.value]

    def _read(self, definition: ModelDefinition) -> dict[str, Any] | None:
        """Return the fields of `Request` that are filled in; None if one is not a number, which is shown below it.

        The others are then checked as well, so that all errors are shown at once.
        """
        lower = None
        try:
            lower = parsed("temperature", self.lower.value, tuple[float, float])
        except JukeboxKitError:
            self.lower.say("Enter two temperatures, for level 1 and level 0, such as 0.99, 0.99.")
        total_seconds = self._number(self.total_seconds) if self.total_seconds.value.strip() else None
        given: dict[str, Any] = {
            "model": self.model.value,
            "artist": self.artist.name_or_unknown,
            "genre": self.genre.name_or_unknown,
            "lyrics": self.lyrics.value,
            "seconds": self._number(self.seconds),
            "total_seconds": total_seconds,
            "items": self._number(self.items, whole=True),
            "seed": self._number(self.seed, whole=True),
        }
        if definition.adapters:
            given["lora_scale"] = float(self.lora_scale.value)
        if lower is not None:
            given["temperature"] = (lower[1], lower[0], float(self.temperature.value))
        if self._filter is not None:
            given[self._filter] = self._number(self.limit, whole=self._filter == "top_k")
        numbers = (self.lower, self.seconds, self.total_seconds, self.items, self.seed, self.limit)
        if any(place.said.value for place in numbers):
            self._request_of({name: value for name, value in given.items() if value is not None})
            return None
        return given

    def _request_of(self, given: dict[str, Any]) -> Request | None:
        """Return the request; None if some of its fields are wrong, each of which is shown below its widget."""
        left, request = dict(given), None
        while request is None:
            try:
                request = normalise_request(left)
            except JukeboxKitError as error:
                self._say_error(error)
                if error.field not in left:
                    return None
                del left[error.field]  # and check the others without it
        return request if left == given else None

    def _say_error(self, error: JukeboxKitError) -> None:
        """Show an error below the widget of the field that it is about, or below the length if there is none."""
        name = _SHOWN_BELOW.get(error.field or "", error.field)
        self.fields.get(name or "", self.seconds).say(str(error))

    def _number(self, place: Field, text: str | None = None, whole: bool = False) -> Any:
        """Return the number typed; None if it is not a number, which is shown below the field."""
        typed = (place.value if text is None else text).strip()
        try:
            return int(typed) if whole else float(typed)
        except ValueError:
            place.say(f"{typed or 'nothing'!r} is not a {'whole ' if whole else ''}number; enter digits, such as 8.")
            return None

    def _say_lyrics(self, request: Request, resolved: Resolved, definition: ModelDefinition) -> None:
        top, lyrics = definition.top, request.lyrics
        self.windows.value = ""
        if not lyrics:
            return
        if not top.use_tokens:
            self.lyrics.say(f"model {definition.name} does not read lyrics; they are only saved with the song.", "note")
            return
        read = resolved.labels[TOP]
        dropped = dict.fromkeys(dropped_characters(without_times(lyrics), top.label_set))
        timed = " with times" if read.due else ""
        said = f"{len(read.tokens):,} characters{timed}; each window reads {top.n_tokens} of them."
        lost = f" Dropped, not in the model's alphabet: {' '.join(dropped)}" if dropped else ""
        self.lyrics.say(said + lost, "note" if dropped else "plain")
        self.windows.value = _windows_table(stretches(resolved, definition), len(read.tokens))

    def _laid_out(self) -> Any:
        half = widgets.Layout(width="50%")
        numbers = [self.seconds, self.total_seconds, self.items, self.seed]
        left = widgets.VBox(
            [f.box for f in (self.model, self.lora_scale, self.artist, self.genre, *numbers)], layout=half
        )
        sampling = widgets.HBox([self.filter.box, self.limit.box])
        right = [self.lyrics.box, self.windows, self.temperature.box, self.lower.box, sampling, self.prompt.box]
        return widgets.HBox([left, widgets.VBox(right, layout=half)])


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the form's widgets for the fields of a request."""
    shown: dict[str, Any] = {name: values[name] for name in ("lyrics", "lora_scale") if name in values}
    for name in ("artist", "genre"):
        if name in values:
            shown[name] = "" if values[name] == "unknown" else values[name]
    for name in ("seconds", "total_seconds", "items", "seed"):
        if name in values:
            value = values[name]
            shown[name] = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    temperature = values.get("temperature")
    if isinstance(temperature, int | float):
        shown["temperature"] = temperature
    elif temperature is not None:
        shown |= {"temperature": temperature[2], "lower": f"{temperature[1]:g}, {temperature[0]:g}"}
    if "top_k" in values or "top_p" in values:
        shown["filter"] = "all tokens"
    for label, field in _FILTERS.items():
        if field is not None and values.get(field) is not None:
            shown |= {"filter": label, "limit": f"{values[field]:g}"}
    return shown


def _windows_table(seen: tuple[Stretch, ...], characters: int) -> str:
    """Return which stretch of the lyrics each window reads, and what is sung in it, as HTML that opens by a click."""
    step = -(-len(seen) // MANY)
    rows = "".join(
        f"<tr><td>{s.start:.1f} to {s.end:.1f} s</td><td>{s.first + 1}-{s.last}</td>"
        f"<td>{html.escape(s.ends)}</td>{'' if s.due is None else f'<td>{html.escape(s.due_text)}</td>'}</tr>"
        for s in seen[::step]
    )
    timed = bool(seen) and seen[0].due is not None
    head = "<tr><th>window</th><th>characters</th><th>reads</th><th>sung in it, by the times</th></tr>" if timed else ""
    which = f"every {step}th of {len(seen)}" if step > 1 else f"{len(seen)}"
    return (
        f"<details><summary>Lyrics that each window reads ({which}; {characters:,} characters)</summary>"
        f'<div style="max-height:12em;overflow:auto"><table>{head}{rows}</table></div></details>'
    )

"""The choice of a model, with how strongly a fine-tuned one differs from its base."""

from __future__ import annotations

import ipywidgets as widgets

from jukebox_kit.model.weights import ListedModel, ModelDefinition, list_models, model_source
from jukebox_kit.notebook.widgets import LABEL, WIDE, Field
from jukebox_kit.song import MAX_LORA_SCALE


class ModelField(Field):
    """A list of models. `strength` is a slider from base to tuned, which is shown for models with adapters."""

    def __init__(self) -> None:
        box = widgets.Dropdown(options=_choices(), value="demo", description="model", style=LABEL, layout=WIDE)
        super().__init__("model", box)
        slider = widgets.FloatSlider(
            min=0, max=MAX_LORA_SCALE, step=0.05, value=1, description="base to tuned", style=LABEL, layout=WIDE
        )
        self.strength = Field("lora_scale", slider)

    def choose(self, model: str) -> None:
        """List the models as they are now, and choose one, by name or path; it is added if it is not in the list."""
        source, choices = model_source(model), _choices()
        if source not in dict(choices).values():
            choices.append((model, source))
        if tuple(choices) != tuple(self.widget.options):
            self.widget.options = choices
        self.widget.value = source

    def show(self, definition: ModelDefinition) -> None:
        """Show what the chosen model is, and the slider if it has adapters."""
        low, high = definition.seconds_range
        if definition.missing():
            files = ", ".join(definition.files[part] for part in definition.missing())
            hint = f"get them with: {definition.get}" if definition.get else f"put them back: {files}"
            self.say(f"Some files are missing; {hint}")
        else:
            self.say(f"{definition.about}; total length {low:g} to {high:g} s; {definition.licence}", "plain")
        self.strength.box.layout.display = "" if definition.adapters else "none"
        scale = float(self.strength.value)
        between = "beyond your model" if scale > 1 else "between the two"
        meaning = {0.0: "the base alone", 1.0: "your model alone"}.get(scale, between)
        self.strength.say(f"0 is the base, 1 is your model; now {meaning}.", "plain")


def _choices() -> list[tuple[str, str]]:
    """Return the label and the source of each model."""
    return [(_label(one), one.source) for one in list_models()]


def _label(one: ListedModel) -> str:
    if one.definition is None:
        return f"{one.name} (yours, cannot be used)"
    state = "files missing" if one.definition.missing() else "ready"
    return f"{one.name} ({'yours, ' if one.own else ''}{state})"

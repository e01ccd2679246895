"""Recording in the browser: a small widget in Jupyter, Colab's own callbacks on Colab."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from jukebox_kit.notebook import colab

_SCRIPT = Path(__file__).parents[1] / "web" / "recorder.js"

_JUPYTER = """
export default {
  render({ model, el }) {
    const button = document.createElement("button");
    button.className = "jupyter-button jk-record";
    button.style.width = "auto";
    recorderButton(button, (wav) => model.send({ recorded: true }, undefined, [wav]));
    el.append(button);
  },
};
"""


def record_button(recorded: Callable[[bytes], None]) -> Any:
    """Return a widget with a button that records the microphone; `recorded` gets a WAV file."""
    script = _SCRIPT.read_text(encoding="utf-8")
    if colab.on_colab():
        output = widgets.Output()
        output.append_display_data(Html(colab.recorder(script, recorded)))
        return output
    button = _recorder()()
    button._esm = script + _JUPYTER
    button.on_msg(lambda _widget, _message, buffers: recorded(bytes(buffers[0])))
    return button


class Html:
    """HTML whose scripts run, unlike those of an HTML widget."""

    def __init__(self, text: str) -> None:
        self.text = text

    def _repr_html_(self) -> str:
        return self.text


@cache
def _recorder() -> Any:
    """Return the class of the button; defined on first use, because Colab does not need it."""
    import anywidget

    class Recorder(anywidget.AnyWidget):
        """The record button."""

    return Recorder

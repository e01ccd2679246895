"""What training changes: the curves of bits per token, and songs of the base and of the tuned model side by side."""

from __future__ import annotations

import io
from pathlib import Path

import ipywidgets as widgets
import soundfile
from markupsafe import Markup

from jukebox_kit._files import read_file
from jukebox_kit.errors import JukeboxKitError
from jukebox_kit.notebook.background import State
from jukebox_kit.notebook.markup import styled_text
from jukebox_kit.notebook.tuning_session import TuningSession
from jukebox_kit.notebook.widgets import heading, reachable, show
from jukebox_kit.song import audio_bytes
from jukebox_kit.training import Measured, TrainingRun, curves_svg, preview_names


class Curves:
    """Measurements and samples of the open run; they grow while it trains."""

    def __init__(self, session: TuningSession) -> None:
        self.session = session
        self.measured: tuple[Measured, ...] = ()
        self.shown: TrainingRun | None = None
        self.picture = widgets.Image(format="svg+xml", layout=widgets.Layout(max_width="900px", width="98%"))
        self.picture.add_class("jk-curves")
        self.bits, self.said = widgets.HTML(), widgets.HTML()
        self.bits.add_class("jk-bits")
        steps = widgets.Layout(width="auto")
        self.steps = widgets.Dropdown(options=[], description="tuned after", layout=steps)
        self.steps.add_class("jk-tuned-after")
        self.steps.observe(lambda _: self._play(), "value")
        self.takes: list[_Pair] = []
        self.row = widgets.Box([], layout=widgets.Layout(display="flex", flex_flow="row wrap"))
        self.listening = widgets.VBox([heading("Base and tuned side by side"), self.steps, self.row, self.said])
        self.box = widgets.VBox([heading("Bits per token"), self.bits, self.picture, self.listening])
        session.watch(self.refresh)
        session.worker.watch(self._worked)

    def refresh(self) -> None:
        """Show the open run as saved, unless it is being trained and newer measurements are shown."""
        run, state = self.session.training, self.session.worker.state
        self.box.layout.display = "none" if run is None else ""
        if run is None:
            self.shown, self.measured = None, ()
            return
        live = state.training.measured if state.training is not None and state.subject == run.work else ()
        self._show(run, max(live, run.progress.measured, key=len))

    def _worked(self, state: State) -> None:
        """Show a new measurement."""
        run = self.session.training
        if state.training is None or not state.busy:
            return
        if run is None:
            self.session.changed()  # a new run is in its folder by now
        elif state.subject == run.work:
            self._show(run, state.training.measured)

    def _show(self, run: TrainingRun, measured: tuple[Measured, ...]) -> None:
        same = self.shown is not None and self.shown.work == run.work
        if same and len(measured) == len(self.measured):
            return
        if not same:
            self.row.children = ()
            self.takes = [_Pair(name) for name in _names(run)]
        self.shown, self.measured = run, measured
        show(self.bits, _bits(measured))
        self.picture.value = curves_svg(measured, "light") if measured else b""  # before it is visible: no empty frames
        self.picture.layout.display = "" if measured else "none"
        options = [(f"{one.step} steps", one.step) for one in reversed(run.sampled()) if one.step]
        self.steps.layout.display = "" if options else "none"
        if list(self.steps.options) != options:
            self.steps.options = options
            self.steps.index = 0 if options else None
        self._play()
        self.listening.layout.display = "" if run.sampled() else "none"

    def _play(self) -> None:
        """Put the base's songs and those after the chosen number of steps into the players."""
        if self.shown is None:
            return
        sampled = {one.step: one.takes for one in self.shown.sampled()}
        try:
            for number, pair in enumerate(self.takes):
                for side, step in ((pair.base, 0), (pair.tuned, self.steps.value)):
                    takes = sampled.get(step, ()) if step is not None else ()
                    take = takes[number] if number < len(takes) else None
                    side.play(self.shown.folder, None if take is None else (take.audio, take.picture))
        except JukeboxKitError as error:
            show(self.said, styled_text(str(error), "error"))
        if len(self.row.children) != len(self.takes):
            self.row.children = tuple(pair.box for pair in self.takes)
            reachable(self.row)


class _Pair:
    """One song by the base and by the tuned model."""

    def __init__(self, name: str) -> None:
        self.base, self.tuned = _Player("base"), _Player("tuned")
        title = widgets.HTML(Markup("<b>{}</b>").format(name))
        layout = widgets.Layout(margin="4px", padding="6px", border="1px solid #8884")
        self.box = widgets.VBox([title, widgets.HBox([self.base.box, self.tuned.box])], layout=layout)


class _Player:
    """A player with a picture. Its widgets are reused, because an open page keeps showing them."""

    def __init__(self, what: str) -> None:
        self.audio = widgets.Audio(value=b"", format="flac", autoplay=False, loop=False)
        self.audio.add_class(f"jk-play-{what}")
        self.picture = widgets.Image(format="png", layout=widgets.Layout(width="290px", height="80px"))
        self.names: tuple[str, str] | None = None
        layout = widgets.Layout(width="310px", margin="0 4px")
        self.box = widgets.VBox([widgets.HTML(what), self.picture, self.audio], layout=layout)

    def play(self, folder: Path, names: tuple[str, str] | None) -> None:
        """Show a song by the names of its audio and picture in a folder; None for no song yet."""
        self.box.layout.visibility = "hidden" if names is None else "visible"
        if names == self.names:
            return
        self.names = names
        wav, picture = [b"" if names is None else read_file(folder / name) or b"" for name in names or ("", "")]
        if wav:
            audio, sr = soundfile.read(io.BytesIO(wav), dtype="float32")
            wav = audio_bytes(audio, sr, "flac")  # which keeps the notebook small
        self.audio.value, self.picture.value = wav, picture


def _names(run: TrainingRun) -> list[str]:
    """Return what each sampled song is; numbers if the base or the dataset is gone."""
    try:
        return preview_names(run.job())
    except JukeboxKitError:
        return [f"song {number + 1}" for number in range(run.settings.samples)]


def _bits(measured: tuple[Measured, ...]) -> Markup:
    """Return the last measurement and how it compares with the base, in HTML."""
    if not measured:
        return styled_text("Nothing is measured yet; the base is measured first.", "plain")
    first, last = measured[0], measured[-1]
    values = {"training": last.training, "held-out songs": last.held_out, "other artists": last.others}
    texts = [f"{name} {value:.3f}" for name, value in values.items() if value is not None]
    before = "" if first.held_out is None or first is last else f"; the base has {first.held_out:.3f} on held-out songs"
    return styled_text(f"After {last.step} steps: {', '.join(texts)}{before}. Lower is better.")

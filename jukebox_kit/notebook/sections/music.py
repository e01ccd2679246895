"""The recordings: which folder they are in, how they get there, and what was found in it."""

from __future__ import annotations

import re
from pathlib import Path

import ipywidgets as widgets
from markupsafe import Markup

from jukebox_kit._files import contents, kept_path, make_folder, shown_path, user_path
from jukebox_kit.errors import JukeboxKitError, StoppedError
from jukebox_kit.model.weights import load_definition, shipped_models
from jukebox_kit.notebook import colab
from jukebox_kit.notebook.markup import filled, styled_text
from jukebox_kit.notebook.sections.upload import ZIP, Uploads, upload_buttons
from jukebox_kit.notebook.tuning_session import TuningSession
from jukebox_kit.notebook.widgets import BELOW, LABEL, WIDE, Field, button, heading, text_field
from jukebox_kit.training.dataset import Dataset, Preparation, prepare, unpack

NONE = "recordings in a folder"


class Music:
    """A folder of recordings becomes a dataset: encoded once, for the model to start from."""

    def __init__(self, session: TuningSession) -> None:
        self.session, self._listing = session, False
        bases = widgets.Dropdown(options=shipped_models(), value="demo", description="base", style=LABEL, layout=WIDE)
        self.base = Field("base", bases)
        datasets = widgets.Dropdown(options=[(NONE, None)], description="music", style=LABEL, layout=WIDE)
        self.dataset = Field("dataset", datasets)
        self.folder = text_field("folder", "folder", hint="the folder with your recordings, or a zip file of it")
        self.browse = widgets.Select(rows=6, description="in it", style=LABEL, layout=WIDE)
        self.browse.add_class("jk-browse")
        uploads = Uploads(session.music, lambda: self.loose_name or "recordings", self._arrived)
        self.upload = widgets.VBox([upload_buttons(uploads)], layout=BELOW)
        self.prepare = button("Examine and encode", "prepare", self._prepare, "search")
        self.prepare.button_style = "primary"
        self.found = widgets.HTML()
        self.found.add_class("jk-found")
        self.loose_name = ""
        self.choosing = widgets.VBox([self.folder.box, self.browse, self.upload])
        go = widgets.HBox([self.prepare], layout=BELOW)
        self.box = widgets.VBox(
            [heading("Your recordings"), self.base.box, self.dataset.box, self.choosing, go, self.found]
        )
        self.base.watch(self._say_base)
        self.dataset.watch(self._choose_dataset)
        self.folder.watch(self._list)
        self.browse.observe(lambda _: self._enter(), "value")
        session.watch(self.refresh)
        self._say_base()
        self._list()

    def refresh(self) -> None:
        """Show what was found, and the datasets that are prepared."""
        session, busy = self.session, self.session.worker.state.busy
        self.box.layout.display = "none" if session.opened is not None else ""
        self.prepare.disabled = busy
        options = [(NONE, None), *((shown_path(path), path) for path in session.prepared())]
        self._listing = True
        try:
            if list(self.dataset.widget.options) != options:
                self.dataset.widget.options = options
            root = None if session.data is None else session.data.root
            self.dataset.widget.value = root if root in [path for _, path in options] else None
        finally:
            self._listing = False
        self._show_choosing()
        self.found.value = "" if session.data is None else found(session.data, session.notes)

    def _show_choosing(self) -> None:
        shown = "none" if self.dataset.value is not None else ""
        self.choosing.layout.display = self.prepare.layout.display = shown

    def _say_base(self) -> None:
        definition = load_definition(self.base.value)
        if definition.missing():
            self.base.say(f"Some files are missing; get them with: {definition.get}")
        else:
            self.base.say(f"{definition.about}; {definition.licence}", "plain")

    def _choose_dataset(self) -> None:
        if self._listing:
            return
        self.dataset.say()
        try:
            data = None if self.dataset.value is None else Dataset.open(self.dataset.value)
        except JukeboxKitError as error:
            self.dataset.say(str(error))
            data = None
        if data is not None and data.model in shipped_models():
            self.base.widget.value = data.model
        self.session.open_data(data)

    def _list(self) -> None:
        """List the folders inside the one that is typed, to walk through them by clicks."""
        folder = self._typed() or _start()
        if folder.suffix.lower() == ZIP:
            folder = folder.parent
        options: list[tuple[str, Path | None]] = [("..", folder.parent)] if folder.parent != folder else []
        try:
            inside = contents(folder)
            self.folder.say("" if self._typed() is None else _counted(inside), "plain")
        except JukeboxKitError as error:
            inside = []
            self.folder.say(str(error))
        options += [
            (f"{path.name}/" if path.suffix.lower() != ZIP else path.name, path)
            for path in inside
            if not path.name.startswith(".") and (path.suffix.lower() == ZIP or path.is_dir())
        ]
        self._listing = True
        try:
            self.browse.options = options
            self.browse.index = None
        finally:
            self._listing = False

    def _typed(self) -> Path | None:
        typed = self.folder.value.strip()
        return kept_path(user_path(typed)) if typed else None

    def _enter(self) -> None:
        if not self._listing and self.browse.value is not None:
            self.folder.widget.value = str(self.browse.value)

    def _arrived(self, path: Path) -> None:
        """Choose what was uploaded."""
        if self.folder.value == str(path):
            self._list()
        self.folder.widget.value = str(path)
        self.session.open_data(None)

    def _prepare(self) -> None:
        source, base, session = self._typed(), self.base.value, self.session
        if source is None:
            self.folder.say("Choose the folder with your recordings, or upload it.")
            return
        self.folder.say()
        notes: list[str] = []

        def ended(done: int, total: int) -> None:
            session.worker.say(f"recordings: {done} of {total}")

        def piece() -> str:
            try:
                folder = source
                if source.suffix.lower() == ZIP:
                    make_folder(session.music)
                    folder = unpack(source, session.music / source.stem)
                out = session.datasets / f"{_plain(folder.name)}-{_plain(base)}"
                data = prepare(folder, out, Preparation(base), notes.append, ended, session.worker.stopping)
            except StoppedError:
                raise
            except JukeboxKitError as error:
                self.folder.say(str(error))
                raise JukeboxKitError("Nothing was encoded; the message below the folder says why.") from None
            refused = {why for one in data.refused for why in (one.why, f"refused: {one.why}")}
            session.data, session.notes = data, tuple(note for note in notes if note not in refused)
            return "The recordings are encoded; make the plan next."

        session.do("reading the recordings", piece, session.datasets)


def found(data: Dataset, notes: tuple[str, ...] = ()) -> Markup:
    """Return what a dataset contains, and which recordings were refused or changed, in HTML."""
    rows = [("dataset", shown_path(data.root)), *data.facts()]
    refused = [(shown_path(Path(one.file)), one.why) for one in data.refused]
    return filled("found.html", {"rows": rows, "refused": refused, "notes": [styled_text(n, "note") for n in notes]})


def _counted(inside: list[Path]) -> str:
    folders = sum(path.is_dir() for path in inside)
    files = len(inside) - folders
    return f"Directly in it: {files} file{'' if files == 1 else 's'}, {folders} folder{'' if folders == 1 else 's'}."


def _start() -> Path:
    """Return the folder that choosing begins with: Drive on Colab, if it is mounted."""
    drive = colab.MOUNT / "MyDrive"
    return drive if colab.on_colab() and drive.is_dir() else Path.cwd()


def _plain(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", Path(name).stem).strip("-").lower() or "music"

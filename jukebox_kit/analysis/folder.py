"""Features of a recording or of a folder of them, as files; run again, it continues where it was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from jukebox_kit._files import contents, kept_path, make_folder, shown_path, write_atomically
from jukebox_kit.analysis.encoding import Clip
from jukebox_kit.analysis.extractor import Extractor, Say, Sink
from jukebox_kit.analysis.files import (
    DONE,
    FACTS,
    FAILED,
    MANIFEST,
    FeatureFile,
    Manifest,
    Row,
    check_facts,
    codes_bytes,
    part_of,
    publish,
    read_facts,
)
from jukebox_kit.analysis.settings import FORMATS, FeatureSettings
from jukebox_kit.errors import JukeboxKitError, RequestError
from jukebox_kit.song.store import open_store
from jukebox_kit.steps import AUTO
from jukebox_kit.training.dataset import SOUNDS

log = logging.getLogger(__name__)

Ended = Callable[[int, int], object]  # gets how many recordings are done, and how many there are


@dataclass(frozen=True)
class Extraction:
    """What became of a folder: its table, and how many recordings this call computed, skipped and could not use."""

    manifest: Path
    computed: int
    skipped: int
    failed: int


def extract(
    source: str | Path,
    out: str | Path,
    settings: FeatureSettings,
    format: str = "npy",
    codes: bool = False,
    say: Say = log.warning,
    ended: Ended = lambda _done, _total: None,
) -> Extraction:
    """Write the features of a recording, or of all recordings below a folder, to the folder `out`.

    A recording that cannot be used gets a row in the manifest that says why, and the others continue. Recordings with a
    row of an earlier call are skipped, unless their size changed or they failed.

    format: npy or safetensors. codes: also write the codes of each level. say: gets sentences for the user.
    RequestError, LabelError or CheckpointError before anything is written, if nothing can be done.
    """
    if format not in FORMATS:
        raise RequestError(f"format must be one of {', '.join(FORMATS)}, not {format}.", field="format")
    root = kept_path(out)
    recordings = find_sounds(kept_path(source))
    _check_free(root)
    before = read_facts(root)
    if settings.precision == AUTO and "precision" in before:
        settings = replace(settings, precision=before["precision"])
    extractor = Extractor(settings, say)
    make_folder(root)
    with open_store(root).lock():
        check_facts(root, {**extractor.facts, "format": format})
        return _Run(extractor, root, format, codes, say, ended).go(recordings)


def find_sounds(source: Path) -> dict[str, Path]:
    """Return the recordings below a folder, or the one of this path, by their names in the manifest.

    RequestError if there are none.
    """
    if source.is_file():
        return {source.name: source}
    if not source.is_dir():
        raise RequestError(f"there is no recording or folder {shown_path(source)}.")
    found: dict[str, Path] = {}
    folders, seen = [source], {source.resolve()}
    while folders:
        for path in contents(folders.pop()):
            if path.is_dir():
                if path.resolve() not in seen:  # a link may lead back
                    folders.append(path)
                seen.add(path.resolve())
            elif path.suffix.lower() in SOUNDS:
                found[path.relative_to(source).as_posix()] = path
    if not found:
        raise RequestError(f"there are no recordings in {shown_path(source)}; they end in {', '.join(SOUNDS)}.")
    return dict(sorted(found.items()))


def _check_free(root: Path) -> None:
    """Raise RequestError if a folder has files but no features."""
    if root.is_file():
        raise RequestError(f"{shown_path(root)} is a file; choose a folder for the features.")
    if root.is_dir() and not (root / FACTS).is_file() and contents(root):
        raise RequestError(f"{shown_path(root)} contains other files; choose an empty or a new folder.")


class _Run:
    """One call of `extract`."""

    def __init__(self, extractor: Extractor, root: Path, format: str, codes: bool, say: Say, ended: Ended) -> None:
        self.extractor, self.root, self.format, self.codes = extractor, root, format, codes
        self.say, self.ended, self.manifest = say, ended, Manifest(root)
        self.rows: dict[Sink, Row] = {}  # of the recordings that are being computed
        self.computed = self.skipped = self.failed = self.total = 0

    def go(self, recordings: dict[str, Path]) -> Extraction:
        """Do what is left."""
        self.total = len(recordings)
        try:
            self.extractor.run(self._clips(recordings), self._done)
        finally:
            for file in self.rows:
                assert isinstance(file, FeatureFile)
                file.file.close()
            self.manifest.save()
        return Extraction(self.root / MANIFEST, self.computed, self.skipped, self.failed)

    def _clips(self, recordings: dict[str, Path]) -> Iterator[tuple[Clip, Sink]]:
        for name, path in recordings.items():
            size = path.stat().st_size if path.is_file() else 0
            finished, codes = self._finished(name, size), f"{name}.codes.safetensors"
            wants_codes = self.codes and not (finished and (self.root / codes).is_file())
            if finished and not wants_codes:
                self.skipped += 1
                self._report()
                continue
            notes: list[str] = []
            try:
                audio = self.extractor.read(path, notes.append)
                clip = self.extractor.clip(audio)
            except JukeboxKitError as error:
                self.failed += 1
                self.say(f"{name}: {error}")
                self.manifest.add(Row(name, size, FAILED, note=str(error)))
                self._report()
                continue
            if wants_codes:
                write_atomically(self.root, codes, codes_bytes(self.extractor.codes(audio, clip)))
            if finished:
                self.skipped += 1
                self._report()
                continue
            yield clip, self._begin(name, size, clip, notes)

    def _begin(self, name: str, size: int, clip: Clip, notes: list[str]) -> FeatureFile:
        self.manifest.forget(name)  # its part is no longer a complete file
        extractor, output = self.extractor, f"{name}.{self.format}"
        shape = extractor.shape(clip)
        file = FeatureFile(self.root / output, extractor.layers, shape, extractor.settings.dtype, extractor.facts)
        frames = shape[0] if len(shape) > 1 else 1
        seconds = round(clip.samples / extractor.sr, 3)
        self.rows[file] = Row(name, size, DONE, output, seconds, frames, " ".join(notes))
        return file

    def _done(self, sink: Sink, lost: int) -> None:
        """Make a complete file known: the row first, since it is the file's part that a row without a file names."""
        row = self.rows.pop(sink)
        assert isinstance(sink, FeatureFile)
        sink.close()
        if lost:
            what = f"{lost} values are beyond what float16 holds and became infinite; use --dtype float32."
            self.say(f"{row.file}: {what}")
            row = replace(row, note=f"{row.note} {what}".strip())
        self.manifest.add(row)
        publish(sink.path)
        self.computed += 1
        self._report()

    def _finished(self, name: str, size: int) -> bool:
        """Return whether a recording has its features; they are given their name if only that is missing."""
        row = self.manifest.rows.get(name)
        if row is None or row.status != DONE or row.bytes != size:
            return False
        path = self.root / row.output
        if not path.is_file() and part_of(path).is_file():
            publish(path)
        return path.is_file()

    def _report(self) -> None:
        self.ended(self.computed + self.skipped + self.failed, self.total)

"""Edits of a song: extend, trim, choose, vary, fork; undo, redo and visit go back. None of them ever destroys codes.

Before an edit changes anything, what the song is goes into `versions/`. The edited codes are written there too,
song.json then names them at one stroke, and the files under their own names follow: an edit cut short is finished by
whoever works on the song next. Tokens that stand at an edit count as given from then on: the plan that made them is no
longer the song's.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jukebox_kit.errors import RequestError, SongError
from jukebox_kit.song.codes import LevelCodes
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.request import normalise_request, resolve
from jukebox_kit.song.song import LEVELS, Song
from jukebox_kit.song.versions import Levels, keep_version, read_manifest, read_version, version_names, write_levels

if TYPE_CHECKING:
    from jukebox_kit.engine import Model

BACK_TO = ": back to version "  # between how and which, in the history


def extend(song: Song, seconds: float, model: Model | None = None, **changes: Any) -> Song:
    """Make the song longer by `seconds`; nothing is sampled yet. Returns the song.

    changes: fields of `Request` that hold from here on, such as other lyrics. Raises RequestError for a length that is
    not above 0 or that the model cannot do.
    """
    if not seconds > 0:
        raise RequestError(f"extend by more than 0 seconds, not {seconds:g}; 8 is a good start.")
    total = song.request.total_seconds
    longer = song.request.seconds + seconds
    changes = {"total_seconds": None if total is None else max(total, longer)} | changes
    return _resized(song, longer, f"extended by {seconds:g} seconds", model, changes)


def trim(song: Song, seconds: float, model: Model | None = None) -> Song:
    """Cut the song to its first `seconds`; what is cut off can be had back by `undo`. Returns the song."""
    if not 0 < seconds < song.request.seconds:
        raise RequestError(f"trim to more than 0 and less than {song.request.seconds:g} seconds, not {seconds:g}.")
    return _resized(song, seconds, f"trimmed to {seconds:g} seconds", model, {})


def choose(song: Song, item: int) -> Song:
    """Make one item the trunk of all: every item becomes a copy of it as far as it is made. Returns the song."""
    items = song.request.items
    if not 0 <= item < items:
        raise SongError(f"{song.root} has items 0 to {items - 1}, not {item}; choose one of those.")
    with song.locked():
        before = {level: song.level(level) for level in LEVELS}
        levels = {level: found.repeated(item, items) for level, found in before.items()}
        _change(song, f"chose item {item}", song.manifest, levels)
    return song


def vary(song: Song) -> Song:
    """Make room for other variations: what was sampled since the last edit is cleared, and the seed is another.

    What was given, such as the trunk that was chosen, stays at each level; nothing is sampled yet. SongError where
    nothing was sampled. Returns the song.
    """
    with song.locked():
        before = {level: song.level(level) for level in LEVELS}
        if not any(found.sampled for found in before.values()):
            raise SongError(
                f"{song.root} has nothing sampled that could be varied; sample it first with: jukebox-kit resume "
                f"{song.root}"
            )
        request = replace(song.request, seed=_unused_seed(song))
        levels = {level: found.resized(found.codes.shape[1], found.given) for level, found in before.items()}
        _change(song, f"other variations, seed {request.seed}", replace(song.manifest, request=request), levels)
    return song


def undo(song: Song) -> Song:
    """Take the last edit back; `redo` brings it again. SongError where there is none. Returns the song."""
    with song.locked():
        _turn(song, "undo", "redo")
    return song


def redo(song: Song) -> Song:
    """Do the edit again that was undone last; SongError where there is none. Returns the song."""
    with song.locked():
        _turn(song, "redo", "undo")
    return song


def visit(song: Song, version: str) -> Song:
    """Go to a kept version, with what could be undone and redone then; the present state is kept. Returns the song.

    The names are those of `tree.tree`. SongError where there is no such version, or it is damaged.
    """
    with song.locked():
        known = version_names(song)
        if version not in known:
            raise SongError(f"{song.root} has no version {version}; it has {', '.join(known) or 'none yet'}.")
        manifest, levels = read_version(song, version)
        keep_version(song)
        _go(song, "visit", version, manifest, levels)
    return song


def fork(song: Song, folder: str | Path, at: float | None = None, model: Model | None = None, **changes: Any) -> Song:
    """Make another song that begins as this one does, up to `at` seconds or as far as it is made. Returns that one.

    changes: fields of `Request` that are to differ; without a seed among them it is the next one, since the same seed
    would go on in the same way. The song itself stays as it is.
    """
    if at is not None and not 0 < at <= song.request.seconds:
        raise RequestError(f"fork at more than 0 and at most {song.request.seconds:g} seconds, not {at:g}.")
    fields = asdict(song.request) | {"prompt": None, "prompt_seconds": None, "seed": (song.request.seed + 1) % 2**64}
    from jukebox_kit.engine import Model

    loaded = model or Model.load(song.request.model)
    codes = {level: _common(song.level(level), _tokens(song, level, at)) for level in LEVELS}
    came_from = {"kind": "fork", "path": str(song.root), "at": at}
    return Song.adopt(folder, codes, came_from, loaded, **(fields | changes))


def _tokens(song: Song, level: int, at: float | None) -> int:
    """Return how many tokens of a level lie before `at` seconds, whole ones of the top level, or how many there are."""
    hops = song.definition.vqvae.hops
    if at is None:
        return song.resolved.plans[level].total
    return int(at * song.sr) // hops[-1] * (hops[-1] // hops[level])


def _common(found: LevelCodes, limit: int) -> LevelCodes:
    """Return the first tokens that every item has, at most `limit`."""
    return found.resized(min(*found.made, limit, found.codes.shape[1]))


def _resized(song: Song, seconds: float, what: str, model: Model | None, changes: dict[str, Any]) -> Song:
    from jukebox_kit.engine import Model

    loaded = model or Model.load(song.request.model)
    with song.locked():
        asked = normalise_request(asdict(song.request) | {"seconds": seconds} | changes)
        if asked.model != song.request.model or asked.items != song.request.items:
            raise RequestError("an edit keeps the song's model and its number of items; fork it to change those.")
        resolved = resolve(asked, loaded.definition, loaded.tables)
        levels = {level: song.level(level).resized(resolved.plans[level].total) for level in LEVELS}
        _change(song, what, replace(song.manifest, request=asked, resolved=resolved), levels)
    return song


def _unused_seed(song: Song) -> int:
    """Return the next seed with which no version of the song was made, as far as they can be read."""
    used = {song.request.seed}
    for name in version_names(song):
        with suppress(SongError):
            used.add(read_manifest(song, name).request.seed)
    seed = song.request.seed
    while seed in used:
        seed = (seed + 1) % 2**64
    return seed


def _change(song: Song, what: str, manifest: Manifest, levels: Levels) -> None:
    """Make a manifest and levels the song's, as an edit that can be undone."""
    kept = keep_version(song)
    _become(song, replace(manifest.noted(what), undo=(*manifest.undo, kept), redo=(), runs={}), levels)


def _turn(song: Song, back: str, forth: str) -> None:
    """Go to the version that `back` names last, and let `forth` name what was left."""
    stack: tuple[str, ...] = getattr(song.manifest, back)
    if not stack:
        raise SongError(f"{song.root} has nothing to {back}.")
    version, levels = read_version(song, stack[-1])
    stacks: dict[str, Any] = {back: stack[:-1], forth: (*getattr(song.manifest, forth), keep_version(song))}
    _go(song, back, stack[-1], replace(version, **stacks), levels)


def _go(song: Song, how: str, name: str, version: Manifest, levels: Levels) -> None:
    """Make what a version was the song's."""
    # The files of audio stay as they are, and so does what is known of them.
    told = replace(version, history=song.manifest.history, sounds=song.manifest.sounds)
    _become(song, told.noted(f"{how}{BACK_TO}{name}"), levels)


def _become(song: Song, manifest: Manifest, levels: Levels) -> None:
    """Make a state the song's: its codes beside, then song.json at one stroke, then the codes to their own names."""
    write_levels(song, "next", levels)
    song.keep(replace(manifest, settling="next"))
    song.settle()
    from jukebox_kit.song.page.page import write_page

    write_page(song)
    song.store.publish()

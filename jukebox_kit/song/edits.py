"""Edits of a song: extend, trim, choose, vary, fork; undo, redo and visit. None of them ever destroys codes.

Before an edit changes anything, the present state is saved in `versions/`. The edited codes are written there as well;
then song.json is replaced atomically and refers to them, and last they are copied to the song's own file names. An
interrupted edit is completed by the next process that works on the song. Tokens that exist at the time of an edit count
as given from then on, since the plan they were sampled by no longer applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import Unpack

from jukebox_kit.errors import RequestError, SongError
from jukebox_kit.model import LEVELS
from jukebox_kit.song.arguments import checked, item_number
from jukebox_kit.song.codes import LevelCodes
from jukebox_kit.song.history import EventKind
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.request import ChangeFields, ForkFields, normalise_request, resolve, typed_fields
from jukebox_kit.song.song import Song
from jukebox_kit.song.versions import Levels, keep_version, read_manifest, read_version, version_names, write_levels

if TYPE_CHECKING:
    from jukebox_kit.engine import Model


def extend(song: Song, seconds: float, model: Model | None = None, **changes: Unpack[ChangeFields]) -> Song:
    """Make the song longer by `seconds`; nothing is sampled yet. Returns the song.

    changes: fields of `Request` that apply from here on, such as other lyrics. Raises RequestError if `seconds` is not
    above 0, or if the model cannot sample a song of that length.
    """
    seconds, changes = checked("seconds", seconds, float), _changes(changes)
    if not seconds > 0:
        raise RequestError(f"extend by more than 0 seconds, not {seconds:g}; 8 is a good start.", field="seconds")
    total = song.request.total_seconds
    longer = song.request.seconds + seconds
    if total is not None:
        changes.setdefault("total_seconds", max(total, longer))
    return _resized(song, longer, "extended", seconds, model, changes)


def trim(song: Song, seconds: float, model: Model | None = None) -> Song:
    """Cut the song to its first `seconds`; `undo` restores the rest. Returns the song."""
    seconds = checked("seconds", seconds, float)
    if not 0 < seconds < song.request.seconds:
        raise RequestError(
            f"trim to more than 0 and less than {song.request.seconds:g} seconds, not {seconds:g}.", field="seconds"
        )
    return _resized(song, seconds, "trimmed", seconds, model, {})


def choose(song: Song, item: int) -> Song:
    """Continue every item from this one: the others are replaced by copies of it. Returns the song."""
    items = song.request.items
    item = item_number(song.root, items, item)
    with song.locked():
        levels = {level: song.level(level).repeated(item, items) for level in LEVELS}
        _change(song, song.manifest.noted("item_chosen", item=item), levels)
    return song


def vary(song: Song) -> Song:
    """Clear what was sampled since the last edit and set a new seed, so that it comes out differently next time.

    The given tokens of each level, such as those of a chosen item, stay; nothing is sampled yet. Raises SongError if
    nothing was sampled. Returns the song.
    """
    with song.locked():
        before = {level: song.level(level) for level in LEVELS}
        if not any(codes.sampled for codes in before.values()):
            raise SongError(
                f"nothing of {song.root} was sampled since the last edit; sample it first with: jukebox-kit resume "
                f"{song.root}"
            )
        request = replace(song.request, seed=_unused_seed(song))
        levels = {level: codes.resized(codes.codes.shape[1], codes.given) for level, codes in before.items()}
        _change(song, replace(song.manifest, request=request).noted("varied", seed=request.seed), levels)
    return song


def undo(song: Song) -> Song:
    """Undo the last edit; raises SongError if there is none. Returns the song."""
    with song.locked():
        _turn(song, "undo", "redo", "undone")
    return song


def redo(song: Song) -> Song:
    """Redo the edit that was undone last; raises SongError if there is none. Returns the song."""
    with song.locked():
        _turn(song, "redo", "undo", "redone")
    return song


def visit(song: Song, version: str) -> Song:
    """Go to a saved version and its undo and redo history; the present state is saved first. Returns the song.

    The names are those of `version_tree.tree`. Raises SongError if there is no such version, or if it is damaged.
    """
    with song.locked():
        known = version_names(song)
        if version not in known:
            raise SongError(f"{song.root} has no version {version}; it has {', '.join(known) or 'none yet'}.")
        manifest, levels = read_version(song, version)
        keep_version(song)
        _go(song, "visited", version, manifest, levels)
    return song


def fork(
    song: Song, folder: str | Path, at: float | None = None, model: Model | None = None, **changes: Unpack[ForkFields]
) -> Song:
    """Create another song that starts with the first `at` seconds of this one, or with all of it. Returns the new song.

    changes: fields of `Request` that differ; unless they name a seed it is the next one, since the same seed would
    continue in the same way. The song itself does not change.
    """
    at = checked("at", at, float | None)
    if at is not None and not 0 < at <= song.request.seconds:
        raise RequestError(f"fork at more than 0 and at most {song.request.seconds:g} seconds, not {at:g}.", field="at")
    changes = cast("ForkFields", typed_fields(changes, ForkFields.__annotations__))
    seed = (song.request.seed + 1) % 2**64
    fields: dict[str, Any] = {**asdict(song.request), "prompt": None, "prompt_seconds": None, "seed": seed, **changes}
    from jukebox_kit.engine import Model

    loaded = model or Model.load(song.request.model)
    codes = {level: _common(song.level(level), _tokens(song, level, at)) for level in LEVELS}
    came_from = {"kind": "fork", "path": str(song.root), "at": at}
    return Song.adopt(folder, codes, came_from, loaded, **fields)


def _changes(changes: Mapping[str, Any]) -> ChangeFields:
    """Return the fields that an edit changes, each as its type; RequestError for one that it cannot change."""
    return cast("ChangeFields", typed_fields(changes, ChangeFields.__annotations__))


def _tokens(song: Song, level: int, at: float | None) -> int:
    """Return how many tokens of a level lie before `at` seconds, rounded down to a top-level token; all for None."""
    hops = song.definition.vqvae.hops
    if at is None:
        return song.resolved.plans[level].total
    return int(at * song.sr) // hops[-1] * (hops[-1] // hops[level])


def _common(codes: LevelCodes, limit: int) -> LevelCodes:
    """Return the first tokens that every item has, at most `limit`."""
    return codes.resized(min(*codes.made, limit, codes.codes.shape[1]))


def _resized(
    song: Song, total: float, kind: EventKind, seconds: float, model: Model | None, changes: ChangeFields
) -> Song:
    """Make a song `total` seconds long. kind, seconds: the event and its only fact."""
    from jukebox_kit.engine import Model

    loaded = model or Model.load(song.request.model)
    with song.locked():
        request = normalise_request({**asdict(song.request), "seconds": total, **changes})
        resolved = resolve(request, loaded.definition, loaded.tables)
        levels = {level: song.level(level).resized(resolved.plans[level].total) for level in LEVELS}
        manifest = replace(song.manifest, request=request, resolved=resolved)
        _change(song, manifest.noted(kind, seconds=seconds), levels)
    return song


def _unused_seed(song: Song) -> int:
    """Return the next seed that no readable version of the song uses."""
    used = {song.request.seed}
    for name in version_names(song):
        with suppress(SongError):
            used.add(read_manifest(song, name).request.seed)
    seed = song.request.seed
    while seed in used:
        seed = (seed + 1) % 2**64
    return seed


def _change(song: Song, manifest: Manifest, levels: Levels) -> None:
    """Give the song a new manifest and new levels, as an edit that can be undone."""
    saved = keep_version(song)
    _become(song, replace(manifest, undo=(*manifest.undo, saved), redo=(), runs={}), levels)


def _turn(song: Song, back: str, forth: str, kind: EventKind) -> None:
    """Go to the last version of the stack `back`, and push the present state on the stack `forth`."""
    stack: tuple[str, ...] = getattr(song.manifest, back)
    if not stack:
        raise SongError(f"{song.root} has nothing to {back}.")
    version, levels = read_version(song, stack[-1])
    stacks: dict[str, Any] = {back: stack[:-1], forth: (*getattr(song.manifest, forth), keep_version(song))}
    _go(song, kind, stack[-1], replace(version, **stacks), levels)


def _go(song: Song, kind: EventKind, name: str, version: Manifest, levels: Levels) -> None:
    """Restore a version; kind: how the history names that."""
    # The audio files stay as they are, and so does the record of what they play.
    restored = replace(version, history=song.manifest.history, sounds=song.manifest.sounds)
    _become(song, restored.noted(kind, version=name), levels)


def _become(song: Song, manifest: Manifest, levels: Levels) -> None:
    """Change the song: save the codes in `versions/`, replace song.json atomically, then copy the codes in place."""
    write_levels(song, "next", levels)
    song.keep(replace(manifest, settling="next"))
    song.settle()
    from jukebox_kit.song.page.page import write_page

    write_page(song)
    song.store.publish()

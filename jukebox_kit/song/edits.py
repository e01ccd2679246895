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

from jukebox_kit._values import checked
from jukebox_kit.errors import RequestError, SongError
from jukebox_kit.model import LEVELS
from jukebox_kit.song.arguments import item_number
from jukebox_kit.song.codes import LevelCodes
from jukebox_kit.song.history import EventKind
from jukebox_kit.song.lyrics.lrc import end_of_lyrics
from jukebox_kit.song.manifest import Manifest
from jukebox_kit.song.request import ChangeFields, ForkFields, load_model, normalise_request, resolve, typed_fields
from jukebox_kit.song.song import Song
from jukebox_kit.song.state import SongState
from jukebox_kit.song.versions import Levels, read_manifest, read_version, save_version, version_names, write_levels

if TYPE_CHECKING:
    from jukebox_kit.engine import Model


def extend(song: Song, seconds: float, model: Model | None = None, **changes: Unpack[ChangeFields]) -> Song:
    """Make the song longer by `seconds`; nothing is sampled yet. Returns the song.

    changes: fields of `Request` that apply from here on, such as other lyrics, whose times count from the song's start,
    too. If the request has a total length, it is raised to that of the song and of new lyrics with times. Raises
    RequestError if `seconds` is not above 0, or if the model cannot sample a song of that length.
    """
    seconds, changes = checked("seconds", seconds, float), _changes(changes)
    if not seconds > 0:
        raise RequestError(f"extend by more than 0 seconds, not {seconds:g}; 8 is a good start.", field="seconds")
    total = song.request.total_seconds
    longer = song.request.seconds + seconds
    if total is not None:
        changes.setdefault("total_seconds", max(total, longer, end_of_lyrics(changes.get("lyrics", ""))))
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
    item = item_number(song.shown_path, items, item)
    with song.locked() as state:
        levels = {level: codes.repeated(item, items) for level, codes in state.all_levels().items()}
        _change(state, state.manifest.noted("item_chosen", item=item), levels)
    return song


def vary(song: Song) -> Song:
    """Clear what was sampled since the last edit and set a new seed, so that it comes out differently next time.

    The given tokens of each level, such as those of a chosen item, stay; nothing is sampled yet. Raises SongError if
    nothing was sampled. Returns the song.
    """
    with song.locked() as state:
        before = state.all_levels()
        if not any(codes.sampled for codes in before.values()):
            raise SongError(
                f"nothing of {song.shown_path} was sampled since the last edit; sample it first with: "
                f"jukebox-kit resume {song.shown_path}"
            )
        request = replace(state.request, seed=_unused_seed(state))
        levels = {level: codes.resized(codes.codes.shape[1], codes.given) for level, codes in before.items()}
        _change(state, replace(state.manifest, request=request).noted("varied", seed=request.seed), levels)
    return song


def undo(song: Song) -> Song:
    """Undo the last edit; raises SongError if there is none. Returns the song."""
    with song.locked() as state:
        _turn(state, "undo", "redo", "undone")
    return song


def redo(song: Song) -> Song:
    """Redo the edit that was undone last; raises SongError if there is none. Returns the song."""
    with song.locked() as state:
        _turn(state, "redo", "undo", "redone")
    return song


def visit(song: Song, version: str) -> Song:
    """Go to a saved version and its undo and redo history; the present state is saved first. Returns the song.

    The names are those of `version_tree.tree`. Raises SongError if there is no such version, or if it is damaged.
    """
    with song.locked() as state:
        known = version_names(state)
        if version not in known:
            raise SongError(f"{song.shown_path} has no version {version}; it has {', '.join(known) or 'none yet'}.")
        manifest, levels = read_version(state, version)
        save_version(state)
        _go(state, "visited", version, manifest, levels)
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
    scale = changes.get("lora_scale", song.request.lora_scale)
    loaded = model or load_model(replace(song.request, lora_scale=scale))
    state = song.state
    codes = {level: _common(state.level(level), _tokens(state, level, at)) for level in LEVELS}
    came_from = {"kind": "fork", "path": str(song.root), "at": at}
    return Song.adopt(folder, codes, came_from, loaded, **fields)


def with_chunks(state: SongState, chunks: int | tuple[int, ...], model: Model) -> Manifest:
    """Return song.json with another number of chunks, one for both or one each for levels 0 and 1.

    A finished level keeps its number. Raises SongError if a level was started with another number, RequestError for a
    number that cannot be.
    """
    counts = list(normalise_request(asdict(state.request) | {"chunks": chunks}).chunks)
    for level, before in enumerate(state.request.chunks):
        codes = state.level(level)
        if codes.complete:
            counts[level] = before
        elif codes.sampled and counts[level] != before:
            raise SongError(
                f"level {level} of {state.shown_path} was started with chunks {before}, not {counts[level]}; resume it "
                f"with: jukebox-kit resume {state.shown_path}"
            )
    request = replace(state.request, chunks=(counts[0], counts[1]))
    if request == state.request:
        return state.manifest
    notes = resolve(request, state.definition, model.tables).notes
    manifest = replace(state.manifest, request=request, resolved=replace(state.resolved, notes=notes))
    return manifest.noted("chunks_set", level_0=counts[0], level_1=counts[1])


def _changes(changes: Mapping[str, Any]) -> ChangeFields:
    """Return the fields that an edit changes, each as its type; RequestError for one that it cannot change."""
    return cast("ChangeFields", typed_fields(changes, ChangeFields.__annotations__))


def _tokens(state: SongState, level: int, at: float | None) -> int:
    """Return how many tokens of a level lie before `at` seconds, rounded down to a top-level token; all for None."""
    hops = state.definition.vqvae.hops
    if at is None:
        return state.resolved.plans[level].total
    return int(at * state.sr) // hops[-1] * (hops[-1] // hops[level])


def _common(codes: LevelCodes, limit: int) -> LevelCodes:
    """Return the first tokens that every item has, at most `limit`."""
    return codes.resized(min(*codes.made, limit, codes.codes.shape[1]))


def _resized(
    song: Song, total: float, kind: EventKind, seconds: float, model: Model | None, changes: ChangeFields
) -> Song:
    """Make a song `total` seconds long. kind, seconds: the event and its only fact."""
    loaded = model or load_model(song.request)
    with song.locked() as state:
        request = normalise_request({**asdict(state.request), "seconds": total, **changes})
        resolved = resolve(request, loaded.definition, loaded.tables)
        levels = {n: codes.resized(resolved.plans[n].total) for n, codes in state.all_levels().items()}
        manifest = replace(state.manifest, request=request, resolved=resolved)
        _change(state, manifest.noted(kind, seconds=seconds), levels)
    return song


def _unused_seed(state: SongState) -> int:
    """Return the next seed that no readable version of the song uses."""
    used = {state.request.seed}
    for name in version_names(state):
        with suppress(SongError):
            used.add(read_manifest(state, name).request.seed)
    seed = state.request.seed
    while seed in used:
        seed = (seed + 1) % 2**64
    return seed


def _change(state: SongState, manifest: Manifest, levels: Levels) -> None:
    """Give the song a new manifest and new levels, as an edit that can be undone."""
    saved = save_version(state)
    _become(state, replace(manifest, undo=(*manifest.undo, saved), redo=(), runs={}), levels)


def _turn(state: SongState, back: str, forth: str, kind: EventKind) -> None:
    """Go to the last version of the stack `back`, and push the present state on the stack `forth`."""
    stack: tuple[str, ...] = getattr(state.manifest, back)
    if not stack:
        raise SongError(f"{state.shown_path} has nothing to {back}.")
    version, levels = read_version(state, stack[-1])
    stacks: dict[str, Any] = {back: stack[:-1], forth: (*getattr(state.manifest, forth), save_version(state))}
    _go(state, kind, stack[-1], replace(version, **stacks), levels)


def _go(state: SongState, kind: EventKind, name: str, version: Manifest, levels: Levels) -> None:
    """Restore a version; kind: how the history names that."""
    # The audio files stay as they are, and so does the record of what they play.
    restored = replace(version, history=state.manifest.history, sounds=state.manifest.sounds)
    _become(state, restored.noted(kind, version=name), levels)


def _become(state: SongState, manifest: Manifest, levels: Levels) -> None:
    """Change the song: save the codes in `versions/`, replace song.json atomically, then copy the codes in place."""
    from jukebox_kit.song.page.page import write_page

    write_levels(state.store, "next", levels)
    state.song.keep(replace(manifest, settling="next"))
    write_page(state.song.settle())
    state.store.publish()

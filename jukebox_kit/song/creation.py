"""Checks before a song is created, and what it starts with: a prompt, or codes that were sampled elsewhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from jukebox_kit._files import contents, exists, shown_path
from jukebox_kit.errors import AudioError, SongError
from jukebox_kit.model.weights import ModelDefinition
from jukebox_kit.song.audio import Audio, Note, read_recording
from jukebox_kit.song.codes import Codes, LevelCodes, pack_codes, unpack_codes
from jukebox_kit.song.files import OWN_NAMES, OWN_PREFIXES, SONG, codes_name
from jukebox_kit.song.renamed import check_not_renamed
from jukebox_kit.song.request import Request, Resolved
from jukebox_kit.song.store.base import Store

if TYPE_CHECKING:
    from jukebox_kit.engine import Model


def check_free(store: Store) -> None:
    """Raise SongError if a folder cannot hold a new song; files of an interrupted creation do not matter."""
    root, place = store.root, shown_path(store.root)
    if store.read(SONG) is not None:
        raise SongError(f"{place} already contains a song; choose another folder.")
    check_not_renamed(root, SONG, ", or choose another folder")
    names = [path.name for path in contents(root)] if exists(root) else []
    if not all(name in OWN_NAMES or name.startswith(OWN_PREFIXES) for name in names):
        raise SongError(f"{place} contains files that do not belong to a song; choose another folder.")
    for level in range(3):
        name = codes_name(level)
        content = store.read(name)
        if content is None:
            check_not_renamed(root, name, ", or choose another folder")
        codes = None if content is None else unpack_codes(content, f"{place}/{name}")
        if codes is not None and codes.sampled:
            raise SongError(f"{place} holds codes but no song.json; put that file back, or choose another folder.")


def check_same(root: Path, holds: Request, asked: Request) -> None:
    """Raise SongError if the song in a folder has another request than the one that is wanted."""
    before, now = dataclasses.asdict(holds), dataclasses.asdict(asked)
    changed = [name for name in before if before[name] != now[name]]
    if changed:
        name, place = changed[0], shown_path(root)
        raise SongError(
            f"{place} contains a song with {name} {before[name]!r}, not {now[name]!r}; choose another folder, or "
            f"continue that song with: jukebox-kit resume {place}"
        )


def check_codes(codes: Codes, level: int, asked: Request, resolved: Resolved, definition: ModelDefinition) -> None:
    """Raise SongError for codes, (items, tokens), that belong to another model or do not fit the request."""
    plan, bins = resolved.plans[level], definition.vqvae.l_bins
    if codes.ndim != 2 or len(codes) != asked.items or codes.shape[1] > plan.total:
        raise SongError(
            f"level {level} has codes of the shape {codes.shape}, which do not fit {asked.items} items of {plan.total} "
            f"tokens; request as many items, and more seconds."
        )
    if codes.size and (codes.min() < 0 or codes.max() >= bins):
        raise SongError(f"level {level} holds codes that are not from 0 to {bins - 1}; they belong to another model.")


def read_prompt(asked: Request, resolved: Resolved, model: Model, note: Note) -> Audio:
    """Return the prompt cut to whole tokens of the top level; AudioError if it leaves nothing to sample.

    note: as in `read_recording`.
    """
    assert asked.prompt is not None
    vqvae = model.definition.vqvae
    enough = asked.seconds + 1.0  # of a recording of hours no more is read
    seconds = enough if asked.prompt_seconds is None else min(asked.prompt_seconds, enough)
    audio = read_recording(Path(asked.prompt), vqvae.sr, seconds, note)
    samples = len(audio) // vqvae.hops[-1] * vqvae.hops[-1]
    if not samples:
        raise AudioError(
            f"the prompt of {len(audio) / vqvae.sr:.4f} seconds is shorter than one token, "
            f"{vqvae.hops[-1] / vqvae.sr:.4f} seconds; use more of the recording, or a longer one.",
            field="prompt",
        )
    if samples >= resolved.samples:
        raise AudioError(
            f"the prompt leaves nothing of {asked.seconds:g} seconds to sample; request more seconds, or cut the "
            f"prompt with prompt-seconds.",
            field="prompt",
        )
    return audio[:samples]


def write_given(store: Store, level: int, codes: LevelCodes, resolved: Resolved) -> None:
    """Save codes as the start of a level, which is given and not sampled."""
    store.write(codes_name(level), pack_codes(codes.resized(resolved.plans[level].total)))

"""Export of a song's audio: in the usual formats, at a loudness, in stereo, or as stems for a studio program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyloudnorm

from jukebox_kit._files import kept_path, shown_path
from jukebox_kit._values import checked
from jukebox_kit.engine import Model
from jukebox_kit.errors import RequestError, SongError
from jukebox_kit.model import LEVELS
from jukebox_kit.song.arguments import chosen_items, item_number, level_number
from jukebox_kit.song.audio import Audio, audio_bytes
from jukebox_kit.song.files import EXPORTS, stem_name
from jukebox_kit.song.provenance import tags_of
from jukebox_kit.song.request import load_model
from jukebox_kit.song.sampled_audio import SampledAudio
from jukebox_kit.song.song import Song
from jukebox_kit.song.store.local import LocalStore

FORMATS = ("wav", "flac", "mp3", "ogg", "stems")

FADE = 0.05  # seconds over which one level is cross-faded into the next

CEILING = 10 ** (-1 / 20)  # the peak that a gain may reach, -1 dBFS

BLOCK = 0.4  # seconds; loudness is measured over blocks of this length

QUIETEST = -70.0  # LUFS; the standard ignores anything quieter

PAN = np.sqrt(0.5)  # the middle in both channels, at equal power


@dataclass(frozen=True)
class Exported:
    """The files that were written, and notes for the user, one sentence each."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def best_audio(song: Song, item: int, model: Model | None = None) -> SampledAudio:
    """Return an item's audio at the best level that each moment has so far, (samples,) float32, not clipped.

    Level 0 as far as it is sampled, then level 1, then level 2; where one ends it is cross-faded into the next over
    50 ms at equal power. Empty if nothing is sampled. It reads the codes, so it is correct while a level grows.
    """
    item = item_number(song.shown_path, song.request.items, item)
    loaded = model or load_model(song.request)
    lengths = {level: _made(song, level, item) for level in LEVELS}
    return joined_levels(lengths, lambda level: song.audio(level, item, loaded), song.sr)


def joined_levels(lengths: Mapping[int, int], audio_of: Callable[[int], Audio], sr: int) -> SampledAudio:
    """Return an item's audio at the best level at each moment; see `best_audio`.

    lengths: in samples, by level. audio_of: returns a level's audio, (samples,).
    """
    best: Audio = np.zeros(0, np.float32)
    for level in sorted(lengths):
        if lengths[level] > len(best):
            best = _joined(best, audio_of(level), int(FADE * sr))
    return SampledAudio.of(best, sr)


def export_audio(
    song: Song,
    target: str | Path | None = None,
    format: str = "wav",
    items: int | Iterable[int] | None = None,
    level: int | str | None = None,
    normalise: float | None = None,
    stereo: bool = False,
    model: Model | None = None,
) -> Exported:
    """Write a song's audio as files of a format: item_0.mp3 …, or stereo.mp3. Files of these names are replaced.

    target: a folder, by default `exports` in the song's. format: wav, flac, mp3, ogg, or stems: 24-bit WAV files of
    every item and level, all as long as the song, so that they can be played together. items: those to write, by
    default all with sampled tokens. level: a single level in place of the best at each moment. normalise: integrated
    loudness (BS.1770) in LUFS; the gain is limited so that no peak exceeds -1 dBFS, which the notes report. stereo:
    three items as left, centre and right.

    Raises RequestError for options that exclude each other, SongError if nothing is sampled yet or the target cannot be
    used, AudioError if a format cannot be written.
    """
    if format not in FORMATS:
        raise RequestError(f"there is no format {format}; format takes {', '.join(FORMATS)}.")
    normalise = checked("normalise", normalise, float | None)
    if normalise is not None and not QUIETEST < normalise <= 0:
        raise RequestError(f"loudness is in LUFS, above {QUIETEST:g} and at most 0, not {normalise:g}; -14 is usual.")
    if format == "stems" and (stereo or normalise is not None):
        raise RequestError(
            "stems contain each level unchanged; leave out stereo and loudness, or choose another format."
        )
    level = None if level is None else level_number(level)
    chosen = sampled_items(song, items, level)
    if stereo and len(chosen) != 3:
        raise RequestError(f"stereo needs three items, left, centre and right, not {len(chosen)}; choose three.")
    write = writer(song, target)
    loaded = model or load_model(song.request)
    if format == "stems":
        return Exported(tuple(_stems(song, chosen, level, loaded, write)))
    audios = {item: _audio(song, item, level, loaded) for item in chosen}
    named: dict[str, tuple[tuple[int, ...], Audio]] = {f"item_{i}": ((i,), audio) for i, audio in audios.items()}
    if stereo:
        named = {"stereo": (chosen, _panned(list(audios.values())))}
    paths: list[Path] = []
    notes: list[str] = []
    for name, (inside, audio) in named.items():
        settled, note = _settled(audio, song.sr, normalise, stereo)
        notes += [f"{name} {note}"] if note else []
        tags = tags_of(song.state, name.replace("_", " "), _parts(song, inside, level))
        paths.append(write(f"{name}.{format}", audio_bytes(settled, song.sr, format, tags=tags)))
    return Exported(tuple(paths), tuple(notes))


def loudness(audio: Audio, sr: int) -> float | None:
    """Return the integrated loudness of (samples,) or (samples, channels) by BS.1770 in LUFS; None for silence.

    Audio shorter than the standard's block of 0.4 seconds is one block.
    """
    if not len(audio):
        return None
    # Half a sample less, as the meter refuses a block that is longer than the audio by a rounding error.
    meter = pyloudnorm.Meter(sr, block_size=min(BLOCK, (len(audio) - 0.5) / sr))
    lufs = float(meter.integrated_loudness(np.asarray(audio, np.float64)))
    return lufs if np.isfinite(lufs) else None


def _made(song: Song, level: int, item: int) -> int:
    """Return how many samples of an item a level has."""
    return song.level(level).made[item] * song.definition.vqvae.hops[level]


def _joined(first: Audio, longer: Audio, fade: int) -> Audio:
    """Return `first` continued by `longer`, which starts at the same moment; both (samples,)."""
    end = len(first)
    start = max(0, end - fade)
    angle = (np.arange(end - start, dtype=np.float32) + 0.5) / max(1, end - start) * (np.pi / 2)
    mixed = np.cos(angle) * first[start:] + np.sin(angle) * longer[start:end]
    return np.concatenate([first[:start], mixed, longer[end:]]).astype(np.float32)


def _parts(song: Song, items: tuple[int, ...], level: int | None) -> Iterator[tuple[int, int]]:
    """Yield each item with each level that `_audio` plays of it."""
    for item in items:
        end = 0
        for one in LEVELS if level is None else (level,):
            if _made(song, one, item) > end:
                end = _made(song, one, item)
                yield item, one


def sampled_items(song: Song, items: int | Iterable[int] | None, level: int | None) -> tuple[int, ...]:
    """Return the items to write; SongError if one does not exist or has nothing sampled."""
    levels = LEVELS if level is None else (level,)
    sampled = tuple(i for i in range(song.request.items) if any(song.level(one).made[i] for one in levels))
    chosen = sampled if items is None else chosen_items(song.shown_path, song.request.items, items)
    lacking = [item for item in chosen if item not in sampled]
    if lacking or not chosen:
        what = f"item {lacking[0]} of {song.shown_path}" if lacking else song.shown_path
        where = "" if level is None else f" at level {level}"
        raise SongError(f"{what} has nothing sampled{where} yet; sample it with: jukebox-kit resume {song.shown_path}")
    return chosen


def writer(song: Song, target: str | Path | None) -> Callable[[str, bytes], Path]:
    """Return a function that writes a file to the target; SongError if that is the song's own and not for exports."""
    asked = song.root / EXPORTS if target is None else kept_path(target)
    own, place = song.root.resolve(), asked.resolve()
    if place.exists() and not place.is_dir():
        raise SongError(f"{shown_path(asked)} is a file; choose a folder for the exports.")
    if place.is_relative_to(own / EXPORTS):
        store, inside = song.store, f"{place.relative_to(own).as_posix()}/"
    elif place.is_relative_to(own):
        usual = shown_path(song.root / EXPORTS)
        raise SongError(f"{shown_path(asked)} is the song's own; choose another folder, or {usual}, the usual one.")
    else:
        store, inside = LocalStore(asked), ""
        store.begin()

    def write(name: str, content: bytes) -> Path:
        store.write(inside + name, content)
        return store.root / inside / name

    return write


def _stems(
    song: Song, items: tuple[int, ...], level: int | None, model: Model, write: Callable[[str, bytes], Path]
) -> Iterator[Path]:
    for item in items:
        for one in LEVELS if level is None else (level,):
            if not _made(song, one, item):
                continue
            audio = song.audio(one, item, model)
            whole = np.pad(audio, (0, song.resolved.samples - len(audio)))  # all stems have the same length
            tags = tags_of(song.state, f"item {item}, level {one}", [(item, one)])
            yield write(stem_name(item, one), audio_bytes(whole, song.sr, "wav", "PCM_24", tags))


def _audio(song: Song, item: int, level: int | None, model: Model) -> Audio:
    return best_audio(song, item, model) if level is None else song.audio(level, item, model)


def _panned(three: list[Audio]) -> Audio:
    """Return left, centre and right, (samples,) each, as (samples, 2) at equal power; shorter ones end in silence."""
    length = max(len(audio) for audio in three)
    left, centre, right = (np.pad(audio, (0, length - len(audio))) for audio in three)
    return np.stack([left + PAN * centre, right + PAN * centre], 1).astype(np.float32)


def _settled(audio: Audio, sr: int, target: float | None, mixed: bool) -> tuple[Audio, str]:
    """Return audio at the target loudness, never above full scale, and a note on what was changed, often empty."""
    peak = float(np.abs(audio).max(initial=0.0))
    if target is None:
        # A single item above full scale is clipped, as its file in the song's folder is; a sum is turned down.
        if not mixed or peak <= 1:
            return np.clip(audio, -1.0, 1.0), ""
        return audio / peak, f"was turned down by {20 * np.log10(peak):.1f} dB, so that the sum does not clip."
    measured = loudness(audio, sr)
    if measured is None:
        return np.clip(audio, -1.0, 1.0), "is too quiet for its loudness to be measured, and is left as it is."
    gain = 10 ** ((target - measured) / 20)
    if gain * peak <= CEILING:
        return (audio * gain).astype(np.float32), ""
    limited = CEILING / peak
    reached = measured + 20 * np.log10(limited)
    note = f"is at {reached:.1f} LUFS, not {target:g}: louder, its peaks would be above -1 dBFS."
    return (audio * limited).astype(np.float32), note

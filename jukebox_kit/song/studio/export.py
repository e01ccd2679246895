"""Export of a song as a project of a studio program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from jukebox_kit._files import printable
from jukebox_kit.engine import Model
from jukebox_kit.errors import RequestError
from jukebox_kit.model import LEVELS
from jukebox_kit.song.arguments import level_number
from jukebox_kit.song.audio import Audio, audio_bytes
from jukebox_kit.song.export import Exported, sampled_items, writer
from jukebox_kit.song.files import stem_name
from jukebox_kit.song.provenance import tags_of
from jukebox_kit.song.request import load_model
from jukebox_kit.song.song import Song
from jukebox_kit.song.state import SongState
from jukebox_kit.song.studio.dawproject import dawproject_bytes
from jukebox_kit.song.studio.markers import markers_of
from jukebox_kit.song.studio.project import Project, TempoPoint, Track
from jukebox_kit.song.studio.reaper import rpp_text
from jukebox_kit.song.studio.tempo import tempo_map

STUDIO_FORMATS = ("dawproject", "reaper")

Clips = Mapping[tuple[int, int], Audio]  # by item and level


def export_project(
    song: Song,
    target: str | Path | None = None,
    format: str = "dawproject",
    items: int | Iterable[int] | None = None,
    level: int | str | None = None,
    model: Model | None = None,
) -> Exported:
    """Write a song as a project of a studio program: NAME.dawproject, or NAME.rpp with the folder NAME-audio.

    Each item and level has a track with a 24-bit clip that starts with the song; one track sounds, the others are
    muted: of the first item the finest level that reaches furthest. That item's lyrics are markers, if an alignment
    tells when they are sung, and so are edits and the seams of chunks. Its audio gives the tempo map; the notes say how
    clear the tempo is, and there is no map where it is unclear.

    target: a folder, by default `exports` in the song's. items, level: those to write, by default all that are sampled.
    Raises RequestError for an unknown format or level, SongError if nothing is sampled yet or the target cannot be
    used.
    """
    if format not in STUDIO_FORMATS:
        raise RequestError(f"there is no format {format}; format takes {', '.join(STUDIO_FORMATS)}.")
    levels = LEVELS if level is None else (level_number(level),)
    chosen = sampled_items(song, items, None if level is None else levels[0])
    write = writer(song, target)
    loaded, state, name = model or load_model(song.request), song.state, song.root.absolute().name
    clips = {
        (item, one): song.audio(one, item, loaded) for item in chosen for one in levels if state.level(one).made[item]
    }
    folder = "audio" if format == "dawproject" else f"{name}-audio"
    project, notes = _project(state, clips, folder)
    stems = {
        track.file: audio_bytes(audio, song.sr, "wav", "PCM_24", tags_of(state, _clip_name(*clip), [clip]))
        for track, (clip, audio) in zip(project.tracks, clips.items(), strict=True)
    }
    if format == "dawproject":
        return Exported((write(f"{name}.dawproject", dawproject_bytes(project, stems)),), notes)
    paths = [write(file, content) for file, content in stems.items()]
    return Exported((write(f"{name}.rpp", rpp_text(project).encode()), *paths), notes)


def _project(state: SongState, clips: Clips, folder: str) -> tuple[Project, tuple[str, ...]]:
    """Return the project of some clips, and notes on its tempo. folder: of the clips' files."""
    first = next(iter(clips))[0]
    sounding = max((clip for clip in clips if clip[0] == first), key=lambda clip: (len(clips[clip]), -clip[1]))
    tracks: list[Track] = []
    for clip, audio in clips.items():
        file = f"{folder}/{stem_name(*clip)}"
        tracks.append(Track(_clip_name(*clip), file, 0.0, len(audio) / state.sr, muted=clip != sounding))
    tempo = tempo_map(clips[sounding], state.sr)
    tags = tags_of(state, "project", ())
    summary = _summary(tempo)
    project = Project(
        printable(state.root.absolute().name),
        tags.artist,
        tags.genre,
        f"{tags.comment}; song {tags.source.song}\n{summary}",
        state.sr,
        tuple(tracks),
        markers_of(state, first),
        tempo,
    )
    return project, (summary,)


def _clip_name(item: int, level: int) -> str:
    return f"item {item}, level {level}"


def _summary(tempo: tuple[TempoPoint, ...]) -> str:
    """Return a sentence on the tempo."""
    clear = [f"{p.bpm:.1f} from {p.seconds:.2f} s (confidence {p.confidence:.2f})" for p in tempo if p.confidence]
    if not clear:
        return "no tempo is clear enough for a tempo map, so the project has none and starts at 120 beats a minute."
    return f"tempo in beats a minute: {', '.join(clear)}."

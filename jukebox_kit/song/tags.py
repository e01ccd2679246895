"""The tags of audio files: title, artist and comment where other programs show them, and where the audio comes from.

| format   | standard tags                             | `Source`, as JSON                |
|----------|-------------------------------------------|----------------------------------|
| WAV      | RIFF INFO, a BWF `bext` chunk, ID3        | the ID3 frame TXXX:JUKEBOX_KIT   |
| MP3      | ID3                                       | the ID3 frame TXXX:JUKEBOX_KIT   |
| FLAC/Ogg | Vorbis comments                           | the comment JUKEBOX_KIT          |

libsndfile writes INFO. ID3 and Vorbis comments are written and read by mutagen, since libsndfile garbles names in MP3
that are not ASCII, and has no tags of one's own.
"""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jukebox_kit._files import printable
from jukebox_kit.model import LEVELS

KEY = "JUKEBOX_KIT"

PROGRAM = "jukebox_kit"

MARK = re.compile(r"\d{1,9} [0-9a-f]{64}")

BEXT = struct.Struct("<256s32s32s10s8sQH64s190s")  # version 1 of the chunk, EBU Tech 3285

RIFF_HEADER = 12  # bytes before the first chunk: RIFF, size, WAVE


@dataclass(frozen=True)
class Part:
    """A stretch of a song that is in a file.

    codes: how many codes it was decoded from, and their SHA-256, as in `audio_files.mark_of`. ValueError for values
    that no song can have.
    """

    item: int
    level: int
    codes: str

    def __post_init__(self) -> None:
        if self.item < 0 or self.level not in LEVELS or not MARK.fullmatch(self.codes):
            raise ValueError(f"a part is an item, a level and a mark of codes, not {self}")


@dataclass(frozen=True)
class Source:
    """Where the audio of a file comes from.

    song: the id in its song.json. name: of its folder when the file was written. parts: more than one where the best
    level at each moment, or several items, are in the file. request: the fields that were set; of paths only the name.
    """

    song: str
    name: str
    model: str
    seed: int
    parts: tuple[Part, ...]
    request: Mapping[str, Any]

    def to_json(self) -> str:
        """Return the source as the tag holds it."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Source | None:
        """Read the tag; None if it is not one that this package wrote."""
        try:
            values: dict[str, Any] = json.loads(text)
            parts = tuple(Part(int(v["item"]), int(v["level"]), str(v["codes"])) for v in values["parts"])
            about = {name: str(values[name]) for name in ("song", "name", "model")}
            return cls(**about, seed=int(values["seed"]), parts=parts, request=dict(values["request"]))
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True)
class Tags:
    """What a file says of itself. date: in ISO 8601, when the song was created."""

    title: str
    artist: str
    comment: str
    genre: str
    date: str
    source: Source


def with_tags(content: bytes, format: str, tags: Tags) -> bytes:
    """Return an audio file with its tags; format: wav, flac, mp3 or ogg. The samples stay as they are."""
    if format == "wav":
        content = _with_bext(content, tags)
    return _with_comments(content, tags) if format in ("flac", "ogg") else _with_id3(content, format, tags)


def read_source(path: Path) -> Source | None:
    """Return where a file says that it comes from; None if it does not say so, or is not a file with tags."""
    from mutagen import File, MutagenError

    try:
        file = File(path)
    except (MutagenError, OSError, ValueError):
        return None
    held: Any = None if file is None else file.tags
    if held is None:
        return None
    if hasattr(held, "getall"):  # ID3
        texts = [str(frame) for frame in held.getall(f"TXXX:{KEY}")]
    else:
        texts = [str(text) for text in held.get(KEY, ())]
    return next((source for text in texts if (source := Source.from_json(text)) is not None), None)


def info_strings(tags: Tags) -> dict[str, str]:
    """Return the strings that libsndfile writes as RIFF INFO, by their names in soundfile."""
    texts = {"title": tags.title, "artist": tags.artist, "comment": tags.comment, "genre": tags.genre}
    return {name: printable(text) for name, text in {**texts, "date": tags.date[:10]}.items() if text}


def _with_bext(content: bytes, tags: Tags) -> bytes:
    """Return a WAV file with the chunk of broadcast files, which holds ASCII, in front of its other chunks."""

    def ascii(text: str) -> bytes:
        return text.encode("ascii", "replace")

    chunk = BEXT.pack(
        ascii(tags.title)[:256],
        ascii(PROGRAM),
        ascii(tags.source.song)[:32],
        ascii(tags.date[:10]),
        ascii(tags.date[11:19]),
        0,  # it starts with the song
        1,
        b"",
        b"",
    )
    body = b"bext" + struct.pack("<I", len(chunk)) + chunk + content[RIFF_HEADER:]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


def _with_id3(content: bytes, format: str, tags: Tags) -> bytes:
    from mutagen import id3
    from mutagen.mp3 import MP3
    from mutagen.wave import WAVE

    frames: Any = id3  # it has no types
    buffer = io.BytesIO(content)
    file: Any = (WAVE if format == "wav" else MP3)(buffer)
    if file.tags is None:
        file.add_tags()
    kinds = {"title": frames.TIT2, "artist": frames.TPE1, "genre": frames.TCON, "date": frames.TDRC}
    texts = info_strings(tags)
    for name, kind in kinds.items():
        if name in texts:
            file.tags.add(kind(encoding=frames.Encoding.UTF8, text=texts[name]))
    file.tags.add(frames.COMM(encoding=frames.Encoding.UTF8, lang="eng", desc="", text=texts["comment"]))
    source = printable(tags.source.to_json())
    file.tags.add(frames.TXXX(encoding=frames.Encoding.UTF8, desc=KEY, text=source))
    buffer.seek(0)
    file.save(buffer)
    return buffer.getvalue()


def _with_comments(content: bytes, tags: Tags) -> bytes:
    from mutagen import File

    buffer = io.BytesIO(content)
    file: Any = File(buffer)
    for name, text in info_strings(tags).items():
        file[name] = text
    file[KEY] = printable(tags.source.to_json())
    buffer.seek(0)
    file.save(buffer)
    return buffer.getvalue()

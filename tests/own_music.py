"""Folders of recordings: of an instrument that the demo model never heard, and of those that it knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jukebox_kit.song import save_audio
from jukebox_kit.training import ARTISTS, GENRES, Timbre, synthesise

ORGAN = Timbre("octave organ", ((1.0, 1.0), (2.0, 0.8), (4.0, 0.6), (8.0, 0.4)), attack=0.02, decay=0.0)

RATE = 44100


def write_clips(folder: Path, artists: list[Timbre], count: int, seed: int, seconds: tuple[float, float]) -> Path:
    """Write `count` FLAC files with lyrics beside them, over all genres, and a metadata.csv; return the folder.

    seconds: the range of their lengths.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = ["file,artist,genre"]
    for number in range(count):
        timbre, genre = artists[number % len(artists)], number // len(artists) % len(GENRES)
        song = synthesise(seed * 1000 + number, timbre, genre, float(rng.uniform(*seconds)), RATE)
        name = f"{number:03d}.flac"
        save_audio(song.audio, folder / name, RATE)
        (folder / f"{number:03d}.txt").write_text(song.lyrics)
        rows.append(f"{name},{timbre.name},{GENRES[genre].name}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_known(folder: Path, count: int, seed: int) -> Path:
    """Write clips of the four artists that the demo knows."""
    return write_clips(folder, list(ARTISTS), count, seed, (20.0, 31.0))

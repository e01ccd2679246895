"""Albums: what a file asks for comes out, song by song."""

from __future__ import annotations

import difflib
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukebox_kit.engine.model import Model
from jukebox_kit.jobs.album import validate as checks
from jukebox_kit.jobs.album.album import Album, load_album
from jukebox_kit.model.labels import Tables
from jukebox_kit.model.weights.definition import CONFIGS, load_definition
from jukebox_kit.song import request
from tests.album.conftest import Write, faults_of


def names(album: Album) -> list[str]:
    return [song.name for song in album.songs]


def test_the_demo_album_ships() -> None:
    album = load_album(CONFIGS / "albums" / "demo.yaml")
    assert names(album) == ["bells", "reeds", "03-saw-strings-march", "flutes-s1", "flutes-s2", "quartet"]
    assert {song.request.artist for song in album.songs} == {"glass bells", "hollow reeds", "saw strings", "the flutes"}
    assert [song.request.items for song in album.songs] == [1, 2, 1, 1, 1, 3]
    assert [song.request.seed for song in album.songs] == [7, 7, 7, 1, 2, 7]
    assert not any(song.notes for song in album.songs)
    songs = Path("songs/demo").absolute()
    assert (album.folder, album.folder_of(album.songs[0])) == (songs, songs / "bells")


def test_pieces_is_read_as_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "defaults: {pieces: 3}\nsongs:\n  - {name: a}\n  - {name: b, pieces: [1, 2]}\n  - {name: c, chunks: 4}"
    )
    assert [song.request.chunks for song in load_album(path).songs] == [(3, 3), (1, 2), (4, 4)]
    path.write_text("songs:\n  - name: a\n    pieces: 2\n    chunks: 3")
    assert faults_of(path) == [(4, "pieces and chunks are the same setting; keep chunks only.")]


def test_the_sweep_that_ships_has_every_combination_in_order() -> None:
    album = load_album(CONFIGS / "albums" / "sweep.yaml")
    assert (
        len(album.songs) == len({(s.request.artist, s.request.genre, s.request.temperature) for s in album.songs}) == 32
    )
    assert names(album)[:3] == [f"bright-the-flutes-{end}" for end in ("lullaby-0.9", "lullaby-1", "waltz-0.9")]
    assert album.songs[1].request.temperature == (0.99, 0.99, 1.0)


def test_the_released_album_asks_for_its_model_only() -> None:
    path = CONFIGS / "albums" / "1b_lyrics.yaml"
    if load_definition("1b_lyrics").missing():
        found = faults_of(path)  # whatever else were wrong with the file would be named, too
        assert all(line == 5 and "models get 1b_lyrics" in said for line, said in found)
    else:
        assert len(load_album(path).songs) == 3


def test_a_name_that_is_unknown_in_every_song_is_searched_for_once(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []
    found = difflib.get_close_matches

    def counted(word: str, *arguments: Any) -> list[str]:
        searched.append(word)
        return found(word, *arguments)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    album = load_album(write("songs: [{artist: bells of glass, sweep: {seed: [1, 2, 3], genre: [waltz, polka]}}]"))
    assert [len(song.notes) for song in album.songs] == [1, 2, 1, 2, 1, 2]
    assert len({song.notes[0] for song in album.songs}) == 1
    assert searched == ["bells of glass", "polka"]


def test_a_songs_own_go_over_the_defaults(write: Write) -> None:
    (write("").parent / "words.txt").write_text("la mo", encoding="utf-8")
    path = write(
        """
about: a try
defaults: {seconds: 3, lyrics_file: words.txt, artist: the flutes}
songs:
  - {}
  - {lyrics: ne, seconds: 4, chunks: 2, temperature: 0.5}
  - &base {name: third, top_p: 0.9, genre: march}
  - {<<: *base, name: fourth, artist: nobody, top_p: null, temperature: [1, 1, 0.5]}
"""
    )
    album = load_album(path, Path("elsewhere"))
    assert (album.about, album.folder) == ("a try", Path("elsewhere").absolute())
    assert load_album(path).folder == Path("songs/album").absolute()
    assert names(album) == ["01-the-flutes", "02-the-flutes", "third", "fourth"]
    first, second, third, fourth = (song.request for song in album.songs)
    assert (first.lyrics, first.seconds, first.temperature) == ("la mo", 3.0, None)
    assert (second.lyrics, second.seconds, second.chunks) == ("ne", 4.0, (2, 2))
    assert second.temperature == (0.99, 0.99, 0.5)
    assert (third.top_p, third.genre, third.artist) == (0.9, "march", "the flutes")
    assert (fourth.top_p, fourth.genre, fourth.temperature) == (None, "march", (1.0, 1.0, 0.5))
    assert [len(song.notes) for song in album.songs] == [0, 0, 0, 1]  # nobody
    assert [song.line for song in album.songs] == [5, 6, 7, 8]


def test_paths_are_those_beside_the_file(
    write: Write, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny.parent, tmp_path / "mine")
    soundfile.write(tmp_path / "start.wav", np.sin(np.arange(4000, dtype=np.float32) / 9), 16000)
    path = write("songs: [{model: mine/../mine/tiny.yaml, seconds: 2, prompt: ./start.wav, prompt_seconds: 0.1}]")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    for spelled in (path, Path("../album.yaml")):
        request = load_album(spelled).songs[0].request
        assert request.model == str(tmp_path / "mine" / "tiny.yaml")
        assert request.prompt == str(tmp_path / "start.wav")


def test_a_sweep_over_pieces_keeps_the_folder_names_of_older_albums(write: Write) -> None:
    path = write("songs: [{name: d, sweep: {pieces: [1, [1, 2]]}, artist: the flutes}]")
    assert names(load_album(path)) == ["d-pieces-1", "d-pieces-1-2"]
    assert [song.request.chunks for song in load_album(path).songs] == [(1, 1), (1, 2)]


def test_swept_names_are_short_and_never_the_same(write: Write) -> None:
    path = write(
        """
songs:
  - name: a
    sweep: {artist: [Zoë, glass bells], temperature: [0.9], seed: [3], top_p: [null, 0.5]}
  - sweep: {lyrics: ["la mo di ne la mo di ne ha", "la mo di ne la mo di ne ho", ""]}
  - {name: c, sweep: {artist: [a b, a], genre: [c, b c]}}
  - {name: d, sweep: {hop_fraction: [[0.5, 0.5, 0.25]], chunks: [1, [1, 2]], strict: [true]}, artist: the flutes}
"""
    )
    assert names(load_album(path)) == [
        *("a-zoe-0.9-s3-top_p-none", "a-zoe-0.9-s3-top_p-0.5"),
        *("a-glass-bells-0.9-s3-top_p-none", "a-glass-bells-0.9-s3-top_p-0.5"),
        *("02-1-la-mo-di-ne-la-mo-di-ne", "02-2-la-mo-di-ne-la-mo-di-ne", "02-3"),
        *("c-1-a-b-c", "c-2-a-b-b-c", "c-3-a-c", "c-4-a-b-c"),
        *("d-hop_fraction-0.5-0.5-0.25-chunks-1-strict-true", "d-hop_fraction-0.5-0.5-0.25-chunks-1-2-strict-true"),
    ]


def test_models_and_prompts_are_read_once_however_many_songs(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()
    looked_at = ((Tables, "read"), (Model, "check_files"), (request, "load_definition"), (checks, "read_prompt"))
    for owner, name in looked_at:
        before = getattr(owner, name)

        def counted(*arguments: object, before: Callable[..., object] = before, name: str = name) -> object:
            counts[name] += 1
            return before(*arguments)

        monkeypatch.setattr(owner, name, counted)
    path = write(
        """
defaults: {temperature: 0.9, prompt: start.wav}
songs:
  - sweep:
      artist: [the flutes, hollow reeds, saw strings, glass bells]
      genre: [lullaby, waltz, march, dance, unknown]
      seed: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
"""
    )
    soundfile.write(path.parent / "start.wav", np.sin(np.arange(4000, dtype=np.float32) / 9), 16000)
    assert len(load_album(path).songs) == 200
    assert counts == {"read": 1, "check_files": 1, "read_prompt": 1}


ARTISTS, GENRES = ("the flutes", "hollow reeds", "saw strings", "glass bells"), ("lullaby", "waltz", "march", "dance")
FIELDS = {
    "artist": st.sampled_from(ARTISTS),
    "genre": st.sampled_from(GENRES),
    "temperature": st.floats(0.1, 2),
    "seed": st.integers(0, 2**64 - 1),
    "lyrics": st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    "seconds": st.floats(1, 8),
    "top_k": st.none() | st.integers(1, 9),
    "strict": st.booleans(),
    "items": st.integers(1, 3),
}
SONGS = st.lists(
    st.tuples(
        st.fixed_dictionaries({}, optional=FIELDS),
        st.fixed_dictionaries(
            {}, optional={name: st.lists(of, min_size=1, max_size=3, unique=True) for name, of in FIELDS.items()}
        ),
    ),
    min_size=1,
    max_size=4,
)
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def combined(
    defaults: dict[str, object], own: dict[str, object], sweep: dict[str, list[object]]
) -> list[dict[str, object]]:
    """Return every song's fields, the last swept field changing quickest: a plain way of saying what a sweep is."""
    songs = [{**defaults, **own}]
    for name, values in sweep.items():
        songs = [{**song, name: value} for song in songs for value in values]
    return songs


def entry(own: dict[str, object], sweep: dict[str, list[object]]) -> dict[str, object]:
    """Return a song as the file has it."""
    kept = {name: value for name, value in own.items() if name not in sweep}
    return {**kept, "sweep": sweep} if sweep else kept


@FEW
@given(defaults=st.fixed_dictionaries({}, optional=FIELDS), songs=SONGS)
def test_every_song_of_a_random_album_comes_out(
    write: Write, defaults: dict[str, object], songs: list[tuple[dict[str, object], dict[str, list[object]]]]
) -> None:
    songs = [(own, dict(list(sweep.items())[:3])) for own, sweep in songs]
    text = yaml.safe_dump({"defaults": defaults, "songs": [entry(*song) for song in songs]}, sort_keys=False)
    album = load_album(write(text))
    wanted = [fields for song in songs for fields in combined(defaults, *song)]
    assert len(album.songs) == len(wanted)
    for song, fields in zip(album.songs, wanted, strict=True):
        if "temperature" in fields:
            fields["temperature"] = (0.99, 0.99, fields["temperature"])
        assert {name: getattr(song.request, name) for name in fields} == fields
        assert re.fullmatch(r"\w[\w.-]*", song.name)
        assert text.split("\n")[song.line - 1].startswith("- ")
    assert len({name.casefold() for name in names(album)}) == len(wanted)

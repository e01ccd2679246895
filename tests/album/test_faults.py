"""Albums: every fault of a file is named with its line, all in one error."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukebox_kit.errors import ConfigurationError, RequestError
from jukebox_kit.jobs.album.album import load_album
from jukebox_kit.song.song import Song
from tests.album.conftest import Write, faults_of

WRONG = """\
defalts: {}
about: [1]
defaults:
  secnds: 3
  seed: yes
  prompt_seconds: 3
  prompt: nowhere.wav
songs:
  - name: a b
    seconds: -1
    items: 0
  - name: x
    seconds: 100
    artist: nobody
    strict: true
    name: y
  - {name: x, seconds: 0.0001}
  - name: X
    top_k: 3
    top_p: 0.5
  - name: Y
    model: dem
    sweep:
      seed: []
      genre: waltz
      temperature: [1, 1.0, -1]
      lyrics: [a]
      artist: [!!int x]
      items: [1]
    items: 2
  - name: logs
    lyrics: [[1]]
  - 17
  - hop_fraction: [1, 1]
    chunks: 2.5
    total_seconds: .inf
    artist: 1975
    lyrics_file: missing.txt
    lyrics: hm
"""


def test_every_fault_is_named_with_its_line(write: Write) -> None:
    path = write(WRONG)
    expected = [
        (1, "unknown setting defalts of an album; did you mean defaults?"),
        (2, "about must be text, not [1]."),
        (4, "unknown setting secnds of the defaults; did you mean seconds?"),
        (5, "seed must be a whole number, not true."),
        (7, f"there is no recording {path.parent}/nowhere.wav."),
        (9, "'a b' cannot be a song's name; use letters, digits, _, . and -, and begin with a letter or digit."),
        (10, "seconds must be above 0, not -1; 8 is a good start."),
        (11, "items must be from 1 to 1024, not 0."),
        (13, "a total length of 100 seconds is outside this model's range: choose at least 8 and under 32 seconds."),
        (14, "artist 'nobody' is unknown to the v3 labels and counts as unknown."),
        (16, "duplicate key name (first on line 12); remove one."),
        (17, "0.0001 seconds are less than one token; ask for at least 0.008."),
        (18, "the name X is already used in line 17; choose another one."),
        (19, "top-k cannot be combined with top-p; set only one of them."),
        (22, "there is no model dem; did you mean demo, or pass the path of a model's YAML file."),
        (24, "a sweep of seed takes a list of values, not an empty list."),
        (25, "a sweep of genre takes a list of values, not 'waltz'."),
        (26, "the sweep of temperature has 1.0 twice; remove one of them."),
        (26, "temperature must be above 0, not -1; 0.98 is usual."),
        (28, "artist must be text, not 'x'; put it into quotes."),
        (30, "items is also swept; remove one of the two."),
        (31, "the album itself keeps logs beside its songs; give the song another name."),
        (32, "lyrics must be text, not a list of lists or mappings."),
        (33, "a song must be a mapping, not 17."),
        (34, "hop_fraction must be a list of 3 numbers, not [1, 1]."),
        (35, "chunks must be a whole number or a list of 2 whole numbers, not 2.5."),
        (36, "total_seconds must be a number, not inf."),
        (37, "artist must be text, not 1975; put it into quotes."),
        (38, f"there is no lyrics file {path.parent}/missing.txt."),
        (39, "lyrics and lyrics_file exclude each other; set only one of them."),
    ]
    assert faults_of(path) == expected


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "the file is empty; an album needs songs."),
        ("about: x", 1, "needs songs, a list of at least one song"),
        ("about: x\nsongs: []", 2, "needs songs, a list of at least one song"),
        ("about: x\nsongs: {a: 1}", 2, "needs songs, a list of at least one song"),
        ("- {}", 1, "an album must be a mapping, not "),
        ("songs:\n  - {seed: 1\n  - {}", 3, "this is not YAML: while parsing a flow mapping, expected ',' or '}'"),
        ("songs:\n\t- {}", 2, "this is not YAML: while scanning for the next token, found character '"),
        ("songs: [{}]\n---\nsongs: [{}]", 2, "expected a single document in the stream, but found another document"),
        ("songs:\n- {lyrics: *words}", 2, "this is not YAML: found undefined alias 'words'"),
        ("songs:\n- {lyrics: '\x07'}", 2, "YAML does not allow"),
        ("songs: " + "[" * 5000, 1, "nested too deeply"),
        ("songs:\n- {seed: 1, seed: 1}", 2, "duplicate key seed (first on line 2)"),
        ("songs:\n- seed: 1\n\n  seed: 2", 4, "duplicate key seed (first on line 2)"),
        ("songs:\n- &a\n  <<: *a\n  sed: 1", 4, "unknown setting sed of a song; did you mean seed?"),
        ("songs:\n- <<: 3", 2, "<< takes a mapping, or a list of mappings."),
        ("songs:\n- ? [a, b]\n  : 1", 2, "unknown setting ['a', 'b'] of a song; known are name, sweep, model"),
        ('songs:\n- artist: "\\ud800"', 2, "artist must be text"),
        ('songs:\n- prompt: "a\\0"', 2, "prompt must be text"),
        ("songs:\n- artist: 2020-13-45", 2, "artist must be text, not '2020-13-45'; put it into quotes."),
        ("songs:\n- artist:", 2, "artist must be text, not nothing."),
        ("songs:\n- seed: true", 2, "seed must be a whole number, not true."),
        ("songs:\n- seed: 1.0", 2, "seed must be a whole number, not 1.0."),
        ("songs:\n- strict: 1", 2, "strict must be true or false, not 1."),
        ("songs:\n- seconds: {}", 2, "seconds must be a number, not a mapping."),
        ("songs:\n- name: 7", 2, "name must be text, not 7; put it into quotes."),
        ("songs:\n- name: .hidden", 2, "cannot be a song's name"),
        ("songs:\n- name: -v", 2, "cannot be a song's name"),
        ("songs:\n- name: ../up", 2, "cannot be a song's name"),
        ("songs:\n- name: Index.HTML", 2, "the album itself keeps index.html"),
        ("songs:\n- name: " + "é" * 61, 2, "is longer than 120 bytes"),
        ("songs:\n- {name: 03}\n- {}\n- {}".replace("03}", '"03"}'), 4, "the name 03 is already used in line 2"),
        ("songs:\n- {}\n- sweep:", 3, "a sweep must be a mapping, not nothing."),
        ("songs:\n- {lyrics: a, sweep: {lyrics_file: [album.yaml]}}", 2, "lyrics is also swept"),
        ("songs:\n- sweep: {lyrics: [a], lyrics_file: [album.yaml]}", 2, "exclude each other; sweep only one of them"),
        ("songs:\n- seed: 1\n  prompt: album.yaml", 3, "cannot be read as audio"),
        ("songs:\n- seed: 1\n  prompt_seconds: 1", 3, "prompt-seconds needs a prompt"),
        ("songs:\n- model: " + "x" * 300, 2, "there is no model xxx"),
        ("songs:\n- model: " + "x" * 300 + ".yaml", 2, "File name too long"),
        ("defaults: {strict: true, genre: polka}\nsongs: [{}, {seed: 2}]", 1, "genre 'polka' is unknown"),
        ("defaults:\n  model: 3\nsongs:\n- {total_seconds: 500}", 2, "model must be text"),
        ("folder: album.yaml\nsongs: [{}]", 1, "album.yaml is a file; choose another folder"),
    ],
)
def test_one_fault_is_one_line(write: Write, text: str, line: int, said: str) -> None:
    found = faults_of(write(text))
    assert [where for where, _ in found] == [line]
    assert said in found[0][1]


def test_a_file_that_is_none_is_said(write: Write, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no album file"):
        load_album(tmp_path / "none.yaml")
    with pytest.raises(RequestError, match="cannot be read"):
        load_album(tmp_path)
    (tmp_path / "album.yaml").write_bytes(b"about: x\nfolder: \xff\n")
    assert faults_of(tmp_path / "album.yaml") == [(2, "the file is not valid UTF-8; save it as UTF-8.")]


def test_a_model_that_lacks_files_is_named_once_where_it_is_first_used(write: Write, tiny: Path) -> None:
    path = write("songs:\n- {}\n- model: mine/tiny.yaml\n  artist: pop\n- {seconds: 0, model: mine/tiny.yaml}")
    shutil.copytree(tiny.parent, path.parent / "mine")
    (path.parent / "mine" / "level_1.safetensors").unlink()
    (path.parent / "mine" / "genres.txt").unlink()
    found = faults_of(path)
    assert [line for line, _ in found] == [3, 3, 5]
    assert "tables (genres.txt) are not on this machine" in found[0][1]
    assert "the level_1 weights of tiny (level_1.safetensors) are not" in found[1][1]
    assert found[2][1].startswith("seconds must be above 0")


def test_folders_that_hold_something_else_are_refused_and_the_same_song_is_not(write: Write, tiny: Path) -> None:
    text = f"defaults: {{model: {tiny}, seconds: 2}}\nsongs:\n- {{name: a, seed: 1}}\n- {{name: b}}\n- {{name: c}}\n"
    album = load_album(write(text))
    for song in album.songs[:2]:
        Song.create(album.folder_of(song), **vars(song.request))
    assert load_album(album.path) == album  # as it is begun, and some of it not yet there
    (album.folder / "c").mkdir()
    (album.folder / "c" / "notes.txt").write_text("mine")
    found = faults_of(write(text.replace("seed: 1", "seed: 2")))
    assert [line for line, _ in found] == [3, 5]
    assert found[0][1].startswith("songs/album/a contains a song with seed 1, not 2; choose another folder")
    assert found[1][1] == "songs/album/c contains files that do not belong to a song; choose another folder."
    with pytest.raises(ConfigurationError, match="songs/album/b is a song; choose another folder"):
        load_album(album.path, Path("songs/album/b"))
    (album.folder / "b").rename(album.folder / "d")
    (album.folder / "b").write_text("")
    assert (4, "songs/album/b is a file; give the song another name.") in faults_of(album.path)


def test_an_album_has_at_most_10000_songs(write: Write) -> None:
    sweep = f"{{seed: {list(range(100))}, top_k: {list(range(1, 1001))}}}"
    assert faults_of(write(f"songs:\n- {{sed: 1}}\n- sweep: {sweep}\n- {{seed: -1}}")) == [
        (2, "unknown setting sed of a song; did you mean seed?"),
        (3, "an album can have 10000 songs at most; this would make it 100001; put the rest into another album."),
    ]


BREAKS = (
    ("sed: 1", "did you mean seed"),
    ("items: 0", "items must be from"),
    ("seconds: fast", "seconds must be a number"),
    ("top_p: 2", "top-p must be above 0"),
    ("model: dmo", "did you mean demo"),
    ("genre: [waltz]", "genre must be text"),
    ("lyrics_file: none.txt", "there is no lyrics file"),
    ("prompt: none.wav", "there is no recording"),
    ("hop_fraction: [0, 1, 1]", "hop-fraction must be above 0"),
    ("sweep: {seed: []}", "takes a list of values"),
    ("name: a/b", "cannot be a song's name"),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    songs=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    breaks=st.dictionaries(st.integers(0, 5), st.sampled_from(BREAKS), max_size=6),
)
def test_each_of_random_faults_is_named_at_its_line(
    write: Write, songs: list[int], breaks: dict[int, tuple[str, str]]
) -> None:
    lines, expected = ["defaults: {total_seconds: 9}", "songs:"], list[tuple[int, str]]()
    for number, blanks in enumerate(songs):
        lines += ["- artist: the flutes", *[""] * blanks]
        if number in breaks:
            lines.append(f"  {breaks[number][0]}")
            # a model is named where it is first asked for
            if breaks[number] not in [breaks[n] for n in range(number) if n in breaks and "model" in breaks[n][0]]:
                expected.append((len(lines), breaks[number][1]))
    path = write("\n".join(lines))
    if not expected:
        assert len(load_album(path).songs) == len(songs)
        return
    found = faults_of(path)
    assert [line for line, _ in found] == [line for line, _ in expected]
    assert all(said in sentence for (_, sentence), (_, said) in zip(found, expected, strict=True))

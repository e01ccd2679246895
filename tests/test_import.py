"""What other programs left goes on here: every recorded form of old file, with the model that it was made with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import jukebox_kit as jk
from jukebox_kit.errors import JukeboxKitError, SongError
from jukebox_kit.song import edits
from jukebox_kit.song.interop.importing import ImportOverrides, import_songs
from jukebox_kit.song.interop.pickles import read_old_file
from jukebox_kit.song.song import Song
from tests.conftest import GOLDEN, TESTS, WAV_STEP, in_wav
from tests.old import HOPS, OLD_FORMATS, OLD_RUN, codes_of, holds, imported, one, write_mini, write_run

SAMPLES, SEED = 88 * 128, json.loads((GOLDEN / "golden.json").read_text())["seed"]


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="module")
def upsampled(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Song:
    """The recorded run's top level alone, sampled on from there with the seed that the run had."""
    folder = tmp_path_factory.mktemp("top") / "oz"
    (folder / "level_2").mkdir(parents=True)
    shutil.copy(OLD_RUN / "level_2" / "data.pth.tar", folder / "level_2")
    return jk.sample(one(folder, folder.parent / "song", mini, seed=SEED))


def status(song: Song) -> list[tuple[int, int]]:
    return [(s.done, s.total) for s in song.status()]


def test_a_whole_run_sounds_as_it_did(mini: Path, tmp_path: Path) -> None:
    song = one(OLD_RUN, tmp_path / "song", mini)
    assert holds(song, codes_of(OLD_RUN / "level_0" / "data.pth.tar"))
    assert status(song) == [(3 * SAMPLES // hop,) * 2 for hop in reversed(HOPS)]
    jk.sample(song)
    for item in range(3):
        want, sr = soundfile.read(OLD_RUN / "level_0" / f"item_{item}.wav")
        found, _ = soundfile.read(song.root / "level_0" / f"item_{item}.wav")
        assert sr == 44100
        assert np.abs(in_wav(song.audio(0, item)) - want).max() <= WAV_STEP
        assert np.abs(found - want).max() <= WAV_STEP


def test_its_song_says_where_it_came_from_and_what_the_files_told(mini: Path, tmp_path: Path) -> None:
    song = one(OLD_RUN, tmp_path / "song", mini, artist=None, genre=None)
    manifest = json.loads((song.root / "song.json").read_text())
    came = manifest["came_from"]
    assert (came["kind"], came["path"], came["parent"]) == ("2020 run", str(OLD_RUN), None)
    assert came["items"] == ["item 0", "item 1", "item 2"]
    request = manifest["request"]
    assert (request["artist"], request["genre"], request["items"]) == ("a", "g", 3)
    assert request["temperature"] == [0.99, 0.99, 0.98]
    assert song.resolved.samples == SAMPLES
    assert song.resolved.labels[2].total == 8820000  # the first column of the labels' rows


def test_upsampling_goes_on_as_the_run_did(upsampled: Song) -> None:
    """Item 0, whose artist the recorded labels name as they number it, comes out as the run's own lower levels."""
    assert status(upsampled) == [(3 * SAMPLES // hop,) * 2 for hop in reversed(HOPS)]
    want = codes_of(OLD_RUN / "level_0" / "data.pth.tar")
    for level in range(3):
        assert np.array_equal(upsampled.codes(level)[0], want[level][0].numpy())
    assert holds(upsampled, codes_of(OLD_RUN / "level_2" / "data.pth.tar"))


def test_an_autosave_goes_on_in_the_middle_of_its_level(mini: Path, tmp_path: Path, upsampled: Song) -> None:
    """Its labels, settings and audio are None; level 1 stops at 200 of 352 tokens."""
    path = OLD_FORMATS / "autosave_mid_level.pth.tar"
    song = one(path, tmp_path / "song", mini, seed=SEED)
    assert status(song) == [(264, 264), (600, 1056), (0, 4224)]
    jk.level_1(song)
    assert status(song)[1] == (1056, 1056)
    assert holds(song, codes_of(path))
    assert np.array_equal(song.codes(1)[0], codes_of(OLD_RUN / "level_0" / "data.pth.tar")[1][0].numpy())


@pytest.mark.parametrize("kind", ["local", "segments"])
def test_an_imported_song_is_extended_chosen_from_and_undone(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("JUKEBOX_KIT_STORE", kind)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    song = one(OLD_RUN, tmp_path / "song", mini)
    before = [song.codes(level) for level in range(3)]
    edits.choose(song, 2)
    edits.extend(song, 0.1)
    jk.level_1(jk.level_2(Song.open(song.root)))
    longer = Song.open(song.root)
    for level in (2, 1):
        stood = before[level].shape[1]
        assert longer.codes(level).min() >= 0
        assert longer.codes(level).shape[1] > stood
        assert np.array_equal(longer.codes(level)[:, :stood], before[level][[2, 2, 2]])
    edits.undo(longer)
    edits.undo(longer)
    again = Song.open(song.root)
    assert all(np.array_equal(again.codes(level), before[level]) for level in range(3))


@pytest.mark.parametrize("name", ["legacy_container", "numpy1", "numpy2"])
def test_other_containers_and_versions_of_numpy(mini: Path, tmp_path: Path, name: str) -> None:
    path = OLD_FORMATS / f"{name}.pth.tar"
    song = one(path, tmp_path / "song", mini)
    assert holds(song, codes_of(path))
    assert status(song) == [(264, 264), (1056, 1056), (0, 4224)]


def test_a_co_composer_file_and_more_seconds(mini: Path, tmp_path: Path) -> None:
    path = OLD_FORMATS / "zs-top-level-final.t"
    outcome = imported(path, tmp_path / "song", mini, seconds=0.3, total_seconds=100)[0]
    song = outcome.song
    assert song is not None
    assert "are identical, as after choosing one" in outcome.notes[0]
    assert song.manifest.came_from["kind"] == "co-composer"
    assert song.resolved.labels[2].total == 4410000
    assert status(song)[0] == (264, 3 * 103)
    jk.level_2(song)
    assert holds(song, codes_of(path))
    assert status(song)[0] == (3 * 103, 3 * 103)
    assert len(np.unique(song.codes(2), axis=0)) == 3  # the copies go on each in its own way


def test_a_web_ui_project_is_a_tree_of_songs(mini: Path, tmp_path: Path) -> None:
    outcomes = imported(OLD_FORMATS / "webui", tmp_path / "songs", mini, artist=None, genre=None)
    songs = {o.song.root.name: o.song for o in outcomes if o.song}
    assert list(songs) == ["blue-moon-1", "blue-moon-2", "blue-moon-1-2", "blue-moon-1-2-1"]
    parents = {name: song.manifest.came_from["parent"] for name, song in songs.items()}
    assert parents == {
        "blue-moon-1": None,
        "blue-moon-2": None,
        "blue-moon-1-2": "../blue-moon-1",
        "blue-moon-1-2-1": "../blue-moon-1-2",
    }
    for name, song in songs.items():
        assert holds(song, codes_of(OLD_FORMATS / "webui" / f"{name}.z"))
        assert song.request.artist == "Frank Sinatra"
        assert song.request.lyrics.startswith("Blue moon\nYou")
        assert song.request.temperature == (0.99, 0.99, 0.98)
    leaf = songs["blue-moon-1-2-1"]
    assert leaf.manifest.came_from["items"] == ["left", "centre", "right"]
    assert status(leaf) == [(264, 264), (384, 1056), (0, 4224)]
    assert Song.open(leaf.root / parents["blue-moon-1-2-1"]).codes(2).shape == (1, 64)
    jk.level_1(leaf)
    assert holds(leaf, codes_of(OLD_FORMATS / "webui" / "blue-moon-1-2-1.z"))
    jk.sample(songs["blue-moon-2"])
    assert holds(songs["blue-moon-2"], codes_of(OLD_FORMATS / "webui" / "blue-moon-2.z"))


def test_web_ui_names_parents_and_what_is_composed_on_from_an_upsampled_node(mini: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tune-2"
    folder.mkdir()
    z = torch.randint(0, 64, (3, 300))
    empty = torch.zeros(1, 0)
    top = z[:1, :70].clone()
    top[0, 50:] = (top[0, 50:] + 1) % 64  # another end than the ancestor has
    torch.save([empty, z, z[:1, :60].repeat(3, 1)], folder / "tune-2-1.z")
    torch.save([empty, empty, top], folder / "tune-2-1-10.z")
    torch.save([empty, empty, top[:, :20]], folder / "tune-2-chorus.z")
    (folder / "tune-2-parents.yaml").write_text("chorus: 1-10\n1-10: 1-9\n'1-9': '1'\n")
    (folder / "tune-2.yaml").write_text("artist: a\ngenre: g\nlyrics: null\n")
    songs = {o.song.root.name: o.song for o in imported(folder, tmp_path / "songs", mini, artist=None) if o.song}
    parents = {name: song.manifest.came_from["parent"] for name, song in songs.items()}
    assert parents == {"tune-2-1": None, "tune-2-1-10": "../tune-2-1", "tune-2-chorus": "../tune-2-1-10"}
    assert status(songs["tune-2-1-10"])[:2] == [(210, 210), (3 * 200, 840)]  # four tokens for each of the 50 alike
    assert holds(songs["tune-2-1-10"], [empty, z[:, :200], top.repeat(3, 1)])
    assert status(songs["tune-2-chorus"])[:2] == [(60, 60), (240, 240)]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("tune.yaml", "genre: g\nartist: 2020-02-30\n", "tune.yaml, line 2: artist must be text, not '2020-02-30'"),
        ("tune.yaml", "genre: g\nlyrics: [\n", "tune.yaml, line 3: this is not YAML"),
        ("tune.yaml", "temperature: .inf\n", "tune.yaml, line 1: temperature must be a number, not inf."),
        ("tune-parents.yaml", "'1': '2'\n'1': '3'\n", "tune-parents.yaml, line 2: duplicate key 1"),
    ],
)
def test_a_faulty_file_of_one_project_is_reported_and_the_others_are_imported(
    mini: Path, tmp_path: Path, file: str, text: str, said: str
) -> None:
    for name in ("moon", "tune", "wave"):
        (tmp_path / "old" / name).mkdir(parents=True)
        shutil.copy(OLD_FORMATS / "webui" / "blue-moon-1.z", tmp_path / "old" / name / f"{name}-1.z")
        (tmp_path / "old" / name / f"{name}.yaml").write_text("artist: a\ngenre: g\ncreated: 2020-02-30\n")
    (tmp_path / "old" / "tune" / file).write_text(text)
    outcomes = imported(tmp_path / "old", tmp_path / "songs", mini)
    assert [outcome.song.root.name for outcome in outcomes if outcome.song] == ["moon-1", "wave-1"]
    (failed,) = [outcome.failed for outcome in outcomes if not outcome.song]
    assert said in failed
    assert not (tmp_path / "songs" / "tune-1").exists()


def test_processes_of_one_run_make_one_song(mini: Path, tmp_path: Path) -> None:
    codes = [write_run(tmp_path / f"oz_rank_{rank}", ["a", "a"]) for rank in (0, 10, 9)]
    song = one(tmp_path / "oz", tmp_path / "songs" / "oz", mini)
    assert holds(song, [torch.cat([codes[i][level] for i in (0, 2, 1)]) for level in range(3)])
    assert song.manifest.came_from["items"][2] == "item 0 of oz_rank_9"
    (outcome,) = imported(tmp_path, tmp_path / "more", mini)
    assert outcome.song is not None
    assert outcome.song.root == tmp_path / "more" / "oz"


def test_items_of_other_artists_are_songs_of_their_own(mini: Path, tmp_path: Path) -> None:
    """The release's sampler gave each item another artist unless it was changed."""
    codes = write_run(tmp_path / "run", ["a", "b", "a"])
    songs = [o.song for o in imported(tmp_path / "run", tmp_path / "songs", mini, artist=None) if o.song]
    assert [(s.root.name, s.request.artist, s.request.items) for s in songs] == [
        ("run-item-0", "a", 2),
        ("run-item-1", "b", 1),
    ]
    assert holds(songs[0], [z[[0, 2]] for z in codes])
    assert holds(songs[1], [z[[1]] for z in codes])


def test_a_prompt_s_codes_are_a_beginning_not_an_upsampling(mini: Path, tmp_path: Path) -> None:
    codes = write_run(tmp_path / "run", ["a", "a"], (320, 80, 88))
    song = one(tmp_path / "run", tmp_path / "song", mini)
    assert status(song) == [(176, 176), (160, 704), (640, 2816)]
    jk.level_1(song)
    assert holds(song, codes)
    assert song.level(1).given == (80,) * song.request.items


def test_a_whole_drive_in_one_go(mini: Path, tmp_path: Path) -> None:
    """What cannot be read is named in a sentence, the rest goes on; a second time nothing is done twice."""
    drive = tmp_path / "MyDrive"
    shutil.copytree(OLD_FORMATS / "webui", drive / "jukebox-webui" / "blue-moon")
    for folder, artists in (("samples/oz", ["a"]), ("old/oz", ["b"]), ("samples/other", ["a", "b"])):
        write_run(drive / folder, artists)
    (drive / "samples" / "oz" / "level_1").mkdir()
    (drive / "samples" / "oz" / "level_1" / "data.pth.tar").write_bytes(b"half")  # stopped while it was written
    shutil.copy(OLD_FORMATS / "zs-top-level-final.t", drive / "co_composer.t")
    shutil.copytree(TESTS / "broken", drive / "broken")
    shutil.copy(GOLDEN / "checkpoints" / "upsampler_level_0.pth.tar", drive / "step_1000.pth.tar")
    for name in ("jukebox/models/5b/vqvae.pth.tar", "samples/oz/data_align.pth.tar", ".Trash/a.t", "song/song.json"):
        (drive / name).parent.mkdir(parents=True, exist_ok=True)
        (drive / name).write_bytes(b"no song")
    outcomes = imported(drive, tmp_path / "songs", mini)
    songs = sorted(o.song.root.name for o in outcomes if o.song)
    assert songs == [
        *("blue-moon-1", "blue-moon-1-2", "blue-moon-1-2-1", "blue-moon-2", "co_composer"),
        *("old-oz", "other-item-0", "other-item-1", "samples-oz"),
    ]
    failed = [o.failed for o in outcomes if not o.song]
    assert len(failed) == 5
    for name in ("empty", "hostile", "not_a_checkpoint", "truncated", "samples/oz/level_1/data"):
        assert sum(f"{name}.pth.tar" in sentence for sentence in failed) == 1
    again = imported(drive, tmp_path / "songs", mini)
    assert [o.failed for o in again if not o.song] == failed
    assert all("was imported before and is unchanged" in o.notes[0] for o in again if o.song)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("truncated", "is not a whole checkpoint"),
        ("empty", "is not a whole checkpoint"),
        ("not_a_checkpoint", "is not a checkpoint, or is damaged"),
        ("hostile", "asks for posix.system, which no checkpoint needs; it was not run and not read"),
    ],
)
def test_what_is_no_old_file_is_refused_in_a_sentence(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)  # where the hostile file would leave `jukebox_kit_was_here`
    (outcome,) = imported(TESTS / "broken" / f"{name}.pth.tar", tmp_path / "song", mini)
    assert outcome.song is None
    assert f"{name}.pth.tar" in outcome.failed
    assert sentence in outcome.failed
    assert outcome.failed.count("\n") == 0
    assert list(tmp_path.iterdir()) == []


EMPTY = torch.zeros(1, 0, dtype=torch.int64)
TOP = torch.arange(20)[None]
ODD: dict[str, tuple[object, str]] = {
    "two levels": ([EMPTY, TOP], "a list of three levels"),
    "no tensors": ([1, 2, 3], "is not a table of codes"),
    "three dimensions": ([EMPTY, EMPTY, TOP.reshape(2, 2, 5)], "is not a table of codes"),
    "uneven items": ([EMPTY, EMPTY, [TOP[0], TOP[0, :3]]], "is not a table of codes"),
    "other keys": ({"level_2": TOP, "step": 1}, "is not a song; pass a file"),
    "no codes": ([EMPTY, EMPTY, EMPTY], "no level 2 codes"),
    "floats": ([EMPTY, EMPTY, TOP.float()], "numbers that are not codes"),
    "too high": ([EMPTY, EMPTY, TOP * 100], r"contains code 1900, but mini has 0 to 63"),
    "wraps to a code in int16": ([EMPTY, EMPTY, TOP * 65536], r"contains code 1245184, but mini"),
    "negative": ([EMPTY, TOP - 1, TOP], r"level 1 .* contains code -1, but mini"),
    "rows": ([EMPTY, TOP.repeat(2, 1), TOP.repeat(3, 1)], "2 items at one level and 3 at another"),
    "huge": ([EMPTY, EMPTY, torch.zeros(1, 1, dtype=torch.int64).expand(1000, 10**9)], "more than any song has"),
    "weights": ({"model": {"w": TOP}}, "contains a model's weights, not a song"),
    "else": ({"step": 1}, "is not a song; pass a file"),
}


@pytest.mark.parametrize("name", list(ODD))
def test_files_with_something_else_are_refused_in_a_sentence(mini: Path, tmp_path: Path, name: str) -> None:
    content, sentence = ODD[name]
    torch.save(content, tmp_path / "odd.t")
    (outcome,) = imported(tmp_path / "odd.t", tmp_path / "song", mini)
    assert outcome.song is None
    with pytest.raises(SongError, match=sentence):
        raise SongError(outcome.failed)
    assert "odd.t" in outcome.failed
    assert not (tmp_path / "song").exists()


def test_a_bit_that_turned_on_the_way_is_noticed(tmp_path: Path) -> None:
    content = bytearray((OLD_FORMATS / "zs-top-level-final.t").read_bytes())
    content[1400] ^= 1
    (tmp_path / "a.t").write_bytes(content)
    with pytest.raises(JukeboxKitError, match=r"a\.t is damaged .*data/2"):
        read_old_file(tmp_path / "a.t")


def test_tensors_of_a_gpu_and_slices_of_a_batch(mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most were saved from CUDA; this machine need not have it."""
    batch = torch.randint(0, 64, (4, 50))
    monkeypatch.setattr("torch.serialization.location_tag", lambda storage: "cuda:0")
    torch.save([torch.zeros(1, 0), torch.zeros(1, 0), batch[2:3, 5:40]], tmp_path / "a.t")
    monkeypatch.undo()
    assert b"cuda:0" in (tmp_path / "a.t").read_bytes()
    song = one(tmp_path / "a.t", tmp_path / "song", mini)
    assert np.array_equal(song.codes(2), batch[2:3, 5:40].numpy())


def test_what_the_files_do_not_say_is_asked_for(mini: Path, tmp_path: Path) -> None:
    path = OLD_FORMATS / "zs-top-level-final.t"
    (outcome,) = import_songs(path, tmp_path / "song", ImportOverrides(artist="a"))
    assert "does not say which model, genre and lyrics it was made with" in outcome.failed
    assert outcome.failed.endswith("pass --model, --genre and --lyrics or --lyrics-file.")
    asked: list[str] = []

    def ask(what: str, where: Path) -> str:
        asked.append(what)
        return {"model": str(mini), "artist": "a", "genre": "g"}[what]

    (outcome,) = import_songs(path, tmp_path / "song", None, ask)
    assert outcome.song is not None
    assert asked == ["model", "artist", "genre"]  # this model reads no lyrics


def test_labels_tell_the_model(tmp_path: Path) -> None:
    for width, name in ((521, "5b_lyrics"), (389, "1b_lyrics"), (9, "5b"), (69, "demo")):
        write_run(tmp_path / name, ["glass bells"], width=width, total=160000, lyrics="la")
        outcome = next(iter(import_songs(tmp_path / name, tmp_path / f"{name}-song")))
        if name == "demo":
            assert outcome.song is not None
            assert outcome.song.request.lyrics == "la"
            assert outcome.song.request.model == "demo"
        else:
            assert f"weights of {name}" in outcome.failed or "tables" in outcome.failed


def test_lengths_that_do_not_fit_are_refused_with_what_does(mini: Path, tmp_path: Path) -> None:
    path = OLD_FORMATS / "zs-top-level-final.t"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"seconds": 0.2}, "is 0.256 seconds long; pass at least as many"),
        ({"total_seconds": 20}, "choose at least 60 and under 600 seconds"),
        ({"seconds": 0.3, "total_seconds": 0.28}, "choose at least 60"),
    ]
    for answers, sentence in cases:
        (outcome,) = imported(path, tmp_path / "song", mini, **answers)
        assert sentence in outcome.failed
    assert status(one(path, tmp_path / "song", mini, seconds=0.256))[0] == (264, 264)


def test_a_target_with_another_song_and_places_with_nothing(mini: Path, tmp_path: Path) -> None:
    one(OLD_FORMATS / "zs-top-level-final.t", tmp_path / "song", mini)
    (outcome,) = imported(OLD_RUN, tmp_path / "song", mini)
    assert "already contains another song; choose another folder" in outcome.failed
    for place, sentence in (
        (tmp_path / "nowhere", "there is no file or folder"),
        (TESTS / "manifest", "contains no songs of other programs"),
        (tmp_path / "song", "is already a song of this toolkit"),
    ):
        with pytest.raises(SongError, match=sentence):
            imported(place, tmp_path / "other", mini)

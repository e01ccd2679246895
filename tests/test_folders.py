"""Folders that other programs touch: what they leave there does not matter, and what they rename is pointed out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import jukebox_kit as jk
from jukebox_kit._files import contents
from jukebox_kit.errors import JukeboxKitError, SongError
from jukebox_kit.song import Song, edits, find_songs, is_song
from jukebox_kit.song.interop import export_2020
from jukebox_kit.song.versions import read_version
from tests.conftest import Run

LITTER = (
    *(".DS_Store", "._song.json", ".localized", "Icon\r", ".Spotlight-V100/", "__MACOSX/", ".Trashes/"),
    *("desktop.ini", "Thumbs.db", "$RECYCLE.BIN/", "System Volume Information/", "~$notes.docx"),
    *(".directory", ".Trash-1000/", "lost+found/", ".nfs0001", ".fuse_hidden0001"),
    *(".ipynb_checkpoints/", "__pycache__/", ".song.yaml.swp", ".gitkeep"),
    *("@eaDir/", "#recycle/", ".@__thumb/", ".stfolder/", ".stversions/", ".sync/", ".sync_123.db", ".dropbox"),
    *(".dropbox.cache/", ".owncloudsync.log", ".tmp.drivedownload/", ".prompt.wav.part", ".jukebox-kit-12345678"),
)
RENAMED = (
    *(
        "song (1).json",
        "song(1).json",
        "song 2.json",
        "song-1.json",
        "song_1.json",
        "song copy.json",
        "song - Copy.json",
    ),
    *("song - Kopie.json", "Copy of song.json", "Kopie von song.json", "song.json.txt", "song.json.bak", "song.json~"),
    *(
        "song.json (1)",
        "song.sync-conflict-20260101-120000-ABCDEFG.json",
        "song (Ann's conflicted copy 2026-01-01).json",
    ),
    *("song-DESKTOP-1A2B3C.json", "Song (1).JSON", "song", "song.txt", "backup.json"),
)
CODES = ("codes (1).safetensors", "Copy of codes.safetensors", "codes.safetensors.txt", "codes - Kopie.safetensors")


def litter(folder: Path, name: str) -> None:
    """Leave something in a folder, which is made; a name that ends in / is a folder with a file in it."""
    place = folder / name
    (place if name.endswith("/") else folder).mkdir(parents=True, exist_ok=True)
    (place / "x" if name.endswith("/") else place).write_text("{}")


@pytest.fixture(scope="module")
def song(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Song:
    return jk.level_2(Song.create(tmp_path_factory.mktemp("songs") / "a", model=tiny, seconds=0.1))


@pytest.fixture
def copied(song: Song, tmp_path: Path) -> Path:
    """A copy of the song, to be harmed."""
    import shutil

    shutil.copytree(song.root, tmp_path / "songs" / "a")
    return tmp_path / "songs" / "a"


@pytest.mark.parametrize("name", LITTER)
def test_what_other_programs_leave_does_not_fill_a_folder(tiny: Path, tmp_path: Path, name: str) -> None:
    litter(tmp_path / "song", name)
    assert contents(tmp_path / "song") == []
    assert Song.create(tmp_path / "song", model=tiny, seconds=0.1).status()[0].done == 0
    assert (tmp_path / "song" / name.rstrip("/")).exists()


def test_export_and_fork_take_such_folders(song: Song, tmp_path: Path) -> None:
    for name in LITTER:
        litter(tmp_path / "fork", name)
        litter(tmp_path / "export", name)
    assert edits.fork(song, tmp_path / "fork").status()[0].done == 12
    export_2020(song, tmp_path / "export")
    assert (tmp_path / "export" / "level_2" / "data.pth.tar").exists()


@pytest.mark.parametrize("name", ["notes.txt", ".git/", ".env", "Thumbs.db.txt", "take.wav", "lost+found.txt"])
def test_what_users_put_there_still_does(song: Song, tiny: Path, tmp_path: Path, name: str) -> None:
    litter(tmp_path / "song", name)
    with pytest.raises(SongError, match="contains files that do not belong to a song"):
        Song.create(tmp_path / "song", model=tiny, seconds=0.1)
    with pytest.raises(SongError, match="is not empty"):
        export_2020(song, tmp_path / "song")
    assert len(list((tmp_path / "song").iterdir())) == 1


def test_such_folders_are_not_listed_as_songs(copied: Path) -> None:
    for name in (".stversions", "__MACOSX", ".ipynb_checkpoints", "@eaDir"):
        litter(copied.parent / name, "song.json")
    assert find_songs([copied.parent]) == [copied]


@pytest.mark.parametrize("name", RENAMED)
def test_a_song_json_with_another_name_is_named(copied: Path, tiny: Path, tmp_path: Path, name: str) -> None:
    (copied / "song.json").rename(copied / name)
    before = sorted(p.name for p in copied.iterdir())
    assert is_song(copied)
    assert find_songs([copied.parent]) == [copied]
    calls: list[Callable[[], object]] = [
        lambda: Song.open(copied),
        lambda: Song.create(copied, model=tiny, seconds=0.1),
        lambda: Song.create(copied, model=tiny, seconds=0.2),
        lambda: edits.fork(Song.open(copied), tmp_path / "fork"),
    ]
    for call in calls:
        with pytest.raises(SongError) as raised:
            call()
        assert f"{copied / name} is song.json under another name; rename it back to {copied / 'song.json'}" in str(
            raised.value
        )
    assert sorted(p.name for p in copied.iterdir()) == before
    (copied / name).rename(copied / "song.json")
    assert Song.open(copied).status()[0].done == 12


def test_the_newest_of_several_copies_is_named_and_other_json_files_are_not(copied: Path, tiny: Path) -> None:
    import os

    for age, name in enumerate(("song (3).json", "song (1).json", "song (2).json")):
        (copied / name).write_bytes((copied / "song.json").read_bytes())
        os.utime(copied / name, (1000 - age, 1000 - age))
    (copied / "song.json").unlink()
    with pytest.raises(SongError, match=r"song \(3\)\.json is song\.json under another name"):
        Song.open(copied)
    for name in ("song (1).json", "song (2).json", "song (3).json"):
        (copied / name).write_text('{"songs": []}')
    assert not is_song(copied)
    with pytest.raises(SongError, match="is not a song folder; make one with"):
        Song.open(copied)


@pytest.mark.parametrize(
    "name", [*CODES, "../level_2 (1)/codes.safetensors", "../Copy of level_2/codes (1).safetensors"]
)
def test_codes_with_another_name_are_named(copied: Path, tiny: Path, name: str) -> None:
    right, wrong = copied / "level_2" / "codes.safetensors", copied / "level_2" / name
    wrong.parent.mkdir(exist_ok=True)
    right.rename(wrong)
    song = Song.open(copied)
    for call in (song.status, lambda: jk.sample(song), lambda: edits.extend(song, 0.1), lambda: song.audio(2)):
        with pytest.raises(SongError) as raised:
            call()
        assert f"{wrong.resolve()} is codes.safetensors under another name; rename it back to {right}" in str(
            raised.value
        )
    (copied / "song.json").unlink()
    with pytest.raises(JukeboxKitError, match=r"is codes\.safetensors under another name|do not belong to a song"):
        Song.create(copied, model=tiny, seconds=0.1)
    wrong.unlink()


def test_codes_that_were_deleted_are_sampled_again(copied: Path) -> None:
    (copied / "level_2" / "codes.safetensors").unlink()
    (copied / "level_2" / "codes.txt").write_text("the codes were here")
    assert jk.level_2(Song.open(copied)).status()[0].done == 12


@pytest.mark.parametrize("name", ["song.json", "level_1/codes.safetensors"])
def test_files_of_versions_with_other_names_are_named(copied: Path, name: str) -> None:
    song = edits.extend(Song.open(copied), 0.1)
    right = copied / "versions" / "1" / name
    wrong = right.with_name(f"{right.stem} (1){right.suffix}")
    right.rename(wrong)
    with song.locked() as state, pytest.raises(SongError) as raised:
        read_version(state, "1")
    assert f"{wrong} is {right.name} under another name" in str(raised.value)


def test_a_song_that_was_unpacked_one_folder_too_deep(copied: Path) -> None:
    with pytest.raises(SongError, match=r"songs is not a song folder, but .*a is; pass that one\."):
        Song.open(copied.parent)


def test_status_and_page_say_what_is_not_a_song(run: Run, copied: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    for command in ("status", "page"):
        done = run(command, tmp_path / "none")
        assert (done.returncode, done.stdout) == (1, "")
        assert "none contains no songs; pass a song's folder, or the folder that contains songs." in done.stderr
    litter(copied.parent / "b", "Thumbs.db")
    (copied.parent / "c").mkdir()
    (copied.parent / "c" / "song (1).json").write_bytes((copied / "song.json").read_bytes())
    done = run("status", copied.parent)
    assert done.returncode == 1
    assert "level_2 100%" in done.stdout
    assert done.stderr.count("\n") == 1
    assert "song (1).json is song.json under another name; rename it back" in done.stderr
    for command in ("resume", "tree", "undo"):
        done = run(command, copied.parent / "c")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "song (1).json is song.json under another name" in done.stderr

"""Codes of other programs are recognised in any order and container, and files and zips under any name."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from jukebox_kit.errors import SongError
from jukebox_kit.song import Song
from jukebox_kit.song.interop.code_lists import lists_top_first
from tests.old import OLD_FORMATS, OLD_RUN, codes_of, holds, imported, one, write_mini, write_run


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini(tmp_path_factory.mktemp("mini"))


def levels(*lengths: int, items: int = 1) -> list[Tensor]:
    """Return codes of levels of these lengths, (items, tokens) each."""
    generator = torch.Generator().manual_seed(sum(lengths))
    return [torch.randint(0, 64, (items, n), generator=generator) for n in lengths]


@pytest.mark.parametrize(
    ("lengths", "top_first"),
    [
        ((1600, 400, 100), False),
        ((100, 400, 1600), True),
        ((0, 0, 100), False),
        ((100, 0, 0), True),
        ((0, 230, 100), False),  # level 1 is being sampled
        ((100, 230, 0), True),
        ((3, 400, 100), False),  # level 0 is being sampled
        ((300, 400, 100), False),
        ((100, 400, 3), True),
        ((100, 400, 300), True),
        ((160, 40, 100), False),  # a prompt of 10 tokens
        ((100, 40, 160), True),
        ((160, 200, 100), False),  # a prompt, and level 1 is being sampled
        ((100, 403, 1615), True),  # lengths that were not rounded to whole tokens of level 2
        ((1615, 403, 100), False),
        ((16, 4, 1), False),
        ((1, 4, 16), True),
        ((0, 0, 0), False),
        ((100, 100, 100), False),  # neither: left as the release's
    ],
)
def test_the_order_of_levels_is_told_by_their_lengths(lengths: tuple[int, int, int], top_first: bool) -> None:
    assert lists_top_first(list(lengths)) is top_first


@pytest.mark.parametrize("lengths", [(320, 80, 20), (100, 80, 20), (0, 50, 20), (0, 0, 20)])
@pytest.mark.parametrize("container", ["list", "dict", "music_tokens"])
def test_codes_from_the_top_are_reordered_with_a_note(
    mini: Path, tmp_path: Path, lengths: tuple[int, ...], container: str
) -> None:
    codes = levels(*lengths, items=2)
    found = codes[::-1]
    torch.save(
        {"list": found, "dict": {"zs": found}, "music_tokens": {"music_tokens": found}}[container], tmp_path / "a.t"
    )
    (outcome,) = imported(tmp_path / "a.t", tmp_path / "song", mini)
    assert outcome.song is not None, outcome.failed
    assert holds(outcome.song, codes)
    assert [outcome.song.request.items, *(s.done for s in outcome.song.status())] == [
        2,
        *(2 * n for n in lengths[::-1]),
    ]
    assert outcome.notes[0] == (
        f"{tmp_path / 'a.t'} lists level 2 first, as the transformers library does; its levels were put in the other "
        f"order."
    )


TOP = levels(20)[0]
EMPTY = torch.zeros(1, 0)
WHOLE = levels(320, 80, 20)


@pytest.mark.parametrize(
    "content",
    [
        tuple(WHOLE),
        {"zs": tuple(WHOLE)},
        {"codes": WHOLE},
        dict(enumerate(WHOLE)),
        {"level_2": WHOLE[2], "level_1": WHOLE[1], "level_0": WHOLE[0]},
        {"top": WHOLE[2], "bottom": WHOLE[0], "middle": WHOLE[1]},
        [z[0] for z in WHOLE],
        [z[None] for z in WHOLE],
        [z[:, None] for z in WHOLE],
        [z[..., None] for z in WHOLE],
        [z.tolist() for z in WHOLE],
        [z[0].tolist() for z in WHOLE],
        [[z[0]] for z in WHOLE],
        [z.to(torch.int16) for z in WHOLE],
        [z.to(torch.int8) for z in WHOLE],
    ],
)
def test_containers_and_dimensions(mini: Path, tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth.tar")
    (outcome,) = imported(tmp_path / "a.pth.tar", tmp_path / "song", mini)
    assert outcome.song is not None, outcome.failed
    assert holds(outcome.song, WHOLE)
    assert outcome.song.request.items == 1
    assert not any("level 2 first" in note for note in outcome.notes)


@pytest.mark.parametrize("content", [{"level_2": TOP}, {2: TOP}, [None, None, TOP], [[], [], TOP], [EMPTY, EMPTY, TOP]])
def test_levels_that_are_missing_are_empty(mini: Path, tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth.tar")
    (outcome,) = imported(tmp_path / "a.pth.tar", tmp_path / "song", mini)
    assert outcome.song is not None, outcome.failed
    assert [status.done for status in outcome.song.status()] == [20, 0, 0]


DATA = (
    *("data.pth (1).tar", "data.pth(1).tar", "data (1).pth.tar", "data(1).pth.tar", "data.pth.tar (1)", "Data.pth.tar"),
    *("Copy of data.pth.tar", "Kopie von data.pth.tar", "data.pth - Copy.tar", "data.pth copy.tar", "data.pth-1.tar"),
    *("data.pth_1.tar", "data.pth.tar.txt", "data.pth.tar.zip", "data_1.pth.tar"),
)


@pytest.mark.parametrize("name", DATA)
def test_files_that_a_browser_renamed_are_the_run_s(mini: Path, tmp_path: Path, name: str) -> None:
    codes = write_run(tmp_path / "drive" / "oz", ["a"])
    folder = tmp_path / "drive" / "oz" / "level_2"
    (folder / "data.pth.tar").rename(folder / name)
    (folder / "data_align.pth (1).tar").write_bytes(b"no song")
    for place in (folder / name, folder, folder.parent):
        assert holds(one(place, tmp_path / place.name / "song", mini), codes)
    (outcome,) = imported(tmp_path / "drive", tmp_path / "all", mini)
    assert outcome.song is not None, outcome.failed
    assert outcome.song.root.name == "oz"
    (folder / name).rename(folder.parent.parent / name)
    shutil.rmtree(folder.parent)
    (outcome,) = imported(tmp_path / "drive", tmp_path / "alone", mini)
    assert outcome.song is not None, outcome.failed
    assert holds(outcome.song, codes)


def test_copies_beside_the_right_name(mini: Path, tmp_path: Path) -> None:
    codes = write_run(tmp_path / "oz", ["a"])
    other = write_run(tmp_path / "other-run", ["a"], lengths=(0, 0, 40))
    shutil.copy(tmp_path / "other-run" / "level_2" / "data.pth.tar", tmp_path / "oz" / "level_2" / "data.pth (1).tar")
    assert holds(one(tmp_path / "oz", tmp_path / "song", mini), codes)
    for number in (1, 2):
        shutil.copy(tmp_path / "oz" / "level_2" / "data.pth (1).tar", tmp_path / "oz" / f"zs ({number}).pth.tar")
        shutil.copy(tmp_path / "oz" / "level_2" / "data.pth (1).tar", tmp_path / "oz" / f"data.pth ({number}).tar")
    shutil.rmtree(tmp_path / "oz" / "level_2")
    songs = [o.song for o in imported(tmp_path / "oz", tmp_path / "songs", mini)]
    assert len({song.root for song in songs if song}) == 4
    assert all(song is not None and holds(song, other) for song in songs)


@pytest.mark.parametrize("name", ["vqvae.pth (1).tar", "prior_level_2 (1).pth.tar", "Copy of data_align.pth.tar"])
def test_weights_that_a_browser_renamed_are_passed_over(mini: Path, tmp_path: Path, name: str) -> None:
    write_run(tmp_path / "drive" / "oz", ["a"])
    (tmp_path / "drive" / name).write_bytes(b"weights")
    (outcome,) = imported(tmp_path / "drive", tmp_path / "songs", mini)
    assert outcome.song is not None


def zipped(folder: Path, path: Path, *, top: bool = True) -> Path:
    """Write a folder's files as a zip file, below a folder of its name or not."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for inside in sorted(folder.rglob("*")):
            if inside.is_file():
                file.write(inside, inside.relative_to(folder.parent if top else folder))
    return path


@pytest.mark.parametrize(
    "name", ["oz.zip", "oz-20260102T030405Z-001.zip", "oz-20260102T030405Z-1-001 (1).zip", "oz.bin"]
)
@pytest.mark.parametrize("top", [True, False])
def test_a_zip_of_a_run_is_a_song(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, top: bool
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "tmp").mkdir()
    path = zipped(OLD_RUN, tmp_path / name, top=top)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("__MACOSX/level_2/._data.pth.tar", "junk")
        file.writestr(".DS_Store", "junk")
    song = one(path, tmp_path / "song", mini)
    assert holds(song, codes_of(OLD_RUN / "level_0" / "data.pth.tar"))
    assert song.manifest.came_from["path"] == f"{path}/{OLD_RUN.name}" if top else str(path)
    assert "unchanged" in imported(path, tmp_path / "song", mini)[0].notes[0]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_zip_of_several_songs_and_one_of_a_single_file(mini: Path, tmp_path: Path) -> None:
    outcomes = imported(zipped(OLD_FORMATS / "webui", tmp_path / "p.zip"), tmp_path / "songs", mini)
    songs = [outcome.song.root.name for outcome in outcomes if outcome.song]
    assert songs == ["blue-moon-1", "blue-moon-2", "blue-moon-1-2", "blue-moon-1-2-1"]
    codes = write_run(tmp_path / "oz", ["a"])
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as file:
        file.write(tmp_path / "oz" / "level_2" / "data.pth.tar", "some/folder/data.pth (1).tar")
    assert holds(one(tmp_path / "one.zip", tmp_path / "one", mini), codes)


def test_the_zips_of_one_download_belong_together(mini: Path, tmp_path: Path) -> None:
    for level in range(3):
        with zipfile.ZipFile(tmp_path / f"oz-20260102T030405Z-1-00{level + 1}.zip", "w") as file:
            file.write(OLD_RUN / f"level_{level}" / "data.pth.tar", f"oz/level_{level}/data.pth.tar")
    song = one(tmp_path / "oz-20260102T030405Z-1-003.zip", tmp_path / "song", mini)
    assert holds(song, codes_of(OLD_RUN / "level_0" / "data.pth.tar"))


def test_zips_that_are_refused_leave_nothing_behind(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    write_run(tmp_path / "oz", ["a"])
    data = (tmp_path / "oz" / "level_2" / "data.pth.tar").read_bytes()
    target, path = tmp_path / "song", tmp_path / "a.zip"

    def refused(sentence: str, *names: str) -> None:
        if names:
            with zipfile.ZipFile(path, "w") as file:
                for name in names:
                    file.writestr(name, data)
        with pytest.raises(SongError, match=sentence):
            imported(path, target, mini)
        assert list((tmp_path / "tmp").iterdir()) == []
        assert not target.exists()

    for name in (
        "../data.pth.tar",
        "/etc/data.pth.tar",
        "a/../../b/data.pth.tar",
        "..\\data.pth.tar",
        "C:\\data.pth.tar",
    ):
        refused("leads out of it; it was not unpacked", name)
    refused("contains no songs of other programs", "thesis.doc", "vqvae.pth.tar")
    refused("contains songs of this toolkit; unpack it", "a/song.json", "a/level_2/codes.safetensors")
    refused("contains no songs of other programs", "__MACOSX/._data.pth.tar")
    link = zipfile.ZipInfo("data.pth.tar")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(link, "/etc/passwd")
    refused("contains no songs of other programs")
    with monkeypatch.context() as patch:
        patch.setattr("jukebox_kit.song.interop.archives.MOST_BYTES", 100)
        refused("needs 0.0 GiB when unpacked, more than the 0.0 GiB available", "data.pth.tar")
    refused("contains no songs", "x.wav")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("oz/level_2/data.pth.tar", data)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    refused("a.zip is damaged .*download it again")
    content[200] ^= 1
    content[6] |= 1  # says that it is encrypted, in both headers
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refused("is protected with a password")
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"")
    refused("is an archive; unpack it, and import the folder")


def test_a_folder_of_zips_says_so(mini: Path, tmp_path: Path) -> None:
    (tmp_path / "drive").mkdir()
    zipped(OLD_RUN, tmp_path / "drive" / "oz.zip")
    with pytest.raises(SongError, match=r"contains no songs of other programs.*import its zip files, such as oz\.zip"):
        imported(tmp_path / "drive", tmp_path / "songs", mini)


def test_errors_inside_of_a_zip_name_the_zip(mini: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("x/bad.pth.tar", b"no checkpoint")
        file.writestr("x/worse.t", b"no checkpoint")
    outcomes = imported(tmp_path / "a.zip", tmp_path / "songs", mini)
    assert sorted(o.failed.split(" is ")[0] for o in outcomes) == [
        f"{tmp_path / 'a.zip' / 'x' / name}" for name in ("bad.pth.tar", "worse.t")
    ]


def test_litter_beside_old_songs_is_passed_over(mini: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "drive" / "oz", ["a"])
    for name in ("@eaDir", "__MACOSX", "$RECYCLE.BIN", ".Trash-1000", ".ipynb_checkpoints"):
        write_run(tmp_path / "drive" / name / "old", ["a"])
    (tmp_path / "drive" / "._a.pth.tar").write_bytes(b"x")
    songs: list[Song | None] = [o.song for o in imported(tmp_path / "drive", tmp_path / "songs", mini)]
    assert [song.root.name for song in songs if song] == ["oz"]
    assert len(songs) == 1

"""An album on ranks of a real MPI: the same songs on any number of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.album.launching import MPIEXEC, codes_of, made, tokens_in

pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec: the mpich wheel has none for this system")

SIX = """
defaults: {seconds: 1, genre: dance}
songs:
  - {name: bells, artist: glass bells, lyrics: la mo}
  - {name: trio, artist: saw strings, genre: waltz, items: 3}
  - {artist: hollow reeds, sweep: {seed: [1, 2, 3]}}
  - {name: pieces, artist: hollow reeds, pieces: 2, seconds: 3}
"""


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("albums") / "six.yaml"
    path.write_text(SIX)
    return path


@pytest.fixture(scope="module")
def alone(six: Path) -> Path:
    """The songs as one rank makes them."""
    folder = six.parent / "alone"
    checked(made(1, six, "--folder", folder, "--json").stdout, folder, 1)
    return folder


def checked(out: str, folder: Path, ranks: int) -> None:
    """Check what a run that made six songs on so many ranks says of itself."""
    done = json.loads(out)
    assert done["ranks"] == ranks
    assert [song["end"] for song in done["songs"]] == ["finished"] * 6
    assert sum(song["tokens"] for song in done["songs"]) == tokens_in(folder)
    logs = [path.read_text() for path in folder.glob("logs/*/rank_*.log")]
    assert len(logs) == ranks  # each took part, and loaded its model once
    assert [log.count("takes model demo") for log in logs] == [1] * ranks


@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_makes_the_same_songs(six: Path, alone: Path, tmp_path: Path, ranks: int) -> None:
    checked(made(ranks, six, "--folder", tmp_path / "songs", "--json").stdout, tmp_path / "songs", ranks)
    assert len(codes_of(alone)) == 6
    assert codes_of(tmp_path / "songs") == codes_of(alone)


def test_an_album_that_is_made_is_not_made_again(six: Path, alone: Path) -> None:
    before = codes_of(alone)
    again = made(2, six, "--folder", alone)
    assert "6 finished" in again.stdout
    assert len(re.findall(r" 0 tokens", again.stdout)) == 6
    assert codes_of(alone) == before


def test_a_song_alone_is_shared_out_in_items_and_pieces(tmp_path: Path) -> None:
    album = tmp_path / "one.yaml"
    album.write_text("songs: [{name: one, artist: glass bells, seconds: 3, items: 2, pieces: 2}]")
    made(0, album, "--folder", tmp_path / "alone")
    made(3, album, "--folder", tmp_path / "shared")
    assert codes_of(tmp_path / "shared") == codes_of(tmp_path / "alone")
    history = json.loads((tmp_path / "shared" / "one" / "song.json").read_text())["history"]
    told = [line["what"] for line in history]
    for level, rows in ((2, "1 to 1"), (1, "1 to 1"), (0, "2 to 3")):
        assert any(line.startswith(f"level {level}: rows") and line.endswith("by themselves") for line in told), rows
    assert not (tmp_path / "shared" / "one" / "shares").exists()


def test_wrong_albums_are_told_once_by_rank_0(tmp_path: Path) -> None:
    album = tmp_path / "wrong.yaml"
    album.write_text("songs:\n  - {name: one, artits: glass bells}\n")
    done = made(3, album, code=1)
    assert done.stderr.count("artits") == 1
    assert "line 2" in done.stderr
    assert not (tmp_path / "songs").exists()

"""The page of an album: what it shows of its songs' folders, whatever is in them, and that its links lead somewhere."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

import jukebox_kit as jk
from jukebox_kit.errors import SongError
from jukebox_kit.jobs.album.page import write_album_page
from jukebox_kit.model.weights.definition import load_definition
from jukebox_kit.song.song import Song
from jukebox_kit.song.state import SongState

REQUEST: dict[str, Any] = {"artist": "The Beatles", "genre": "pop", "lyrics": "la secret", "seconds": 0.6, "items": 2}
HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"q\" 'q' <!-- $title {{ 7 * 7 }}{% block x %}"
)
VOID = {"meta", "link", "img", "input"}


@dataclass
class Element:
    name: str
    attributes: dict[str, str]
    text: str = ""
    inside: list[Element] = field(default_factory=list)

    def all(self, name: str, **attributes: str) -> list[Element]:
        """Return the elements of a name within, in order; attributes as they are to be."""
        own = self.name == name and all(self.attributes.get(key) == value for key, value in attributes.items())
        return [*([self] if own else []), *(e for child in self.inside for e in child.all(name, **attributes))]

    @property
    def words(self) -> str:
        return " ".join(part for part in (self.text, *(child.words for child in self.inside)) if part)


class Strict(HTMLParser):
    """A reader of HTML in which every element is closed, by its own name."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(Element("", {}, data.strip()))


def read(page: Path) -> Element:
    """Return a page's root; it fails where the page is not well formed."""
    reader = Strict()
    reader.feed(page.read_text(encoding="utf-8"))
    reader.close()
    (root,) = reader.open
    found = [e.attributes["id"] for e in every(root) if "id" in e.attributes]
    assert len(found) == len(set(found))
    return root


def every(element: Element) -> list[Element]:
    return [element, *(e for child in element.inside for e in every(child))]


def links(root: Element) -> list[str]:
    body = root.all("body")[0]
    return [e.attributes[name] for e in every(body) for name in ("src", "href") if name in e.attributes]


def leads_to_files(page: Path, names: Sequence[str]) -> bool:
    return all(Path(os.fsdecode(os.fsencode(page.parent) + b"/" + unquote_to_bytes(n))).is_file() for n in names)


@pytest.fixture(scope="module")
def made(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished song of two items."""
    return jk.sample(Song.create(tmp_path_factory.mktemp("songs") / "made", model=tiny, seed=7, **REQUEST)).root


@pytest.fixture(scope="module")
def begun(made: Path, tiny: Path) -> Path:
    """The folder of a song whose level 2 alone is made."""
    return jk.level_2(Song.create(made.parent / "begun", model=tiny, temperature=0.9, **REQUEST)).root


def test_songs_are_there_in_their_order_with_what_they_are(made: Path, begun: Path, tiny: Path, tmp_path: Path) -> None:
    done, growing = (shutil.copytree(song, tmp_path / song.name) for song in (made, begun))
    waiting = Song.create(tmp_path / "waiting", model=tiny, **{**REQUEST, "temperature": (0.5, 0.6, 0.7)}).root
    page = write_album_page(tmp_path, "An album", "Six songs", [growing, done, waiting], {"Ranks": "3", "Host": "a<b"})
    assert page == tmp_path / "index.html"
    root = read(page)
    assert (root.all("h1")[0].words, root.all("p", **{"class": "about"})[0].words) == ("An album", "Six songs")
    assert [row.words for row in root.all("tr")] == ["Ranks 3", "Host a<b"]
    first, second, third = root.all("li", **{"class": "song"})
    assert [row.attributes["data-state"] for row in (first, second, third)] == ["in progress", "done", "not started"]
    assert second.all("p")[0].words == "The Beatles · pop · seed 7 · temperature 0.98 · 0.6 seconds · 2 items"
    assert "temperature 0.9 ·" in first.words
    assert "temperature 0.5, 0.6, 0.7 (levels 0, 1, 2)" in third.words
    assert first.all("ul")[0].words == "Level 2 complete Level 1 not started Level 0 not started"
    assert second.all("ul")[0].words == "Level 2 complete Level 1 complete Level 0 complete"
    assert [audio.attributes["src"] for audio in first.all("audio")] == [f"begun/level_2/item_{i}.wav" for i in (0, 1)]
    assert [audio.attributes["src"] for audio in second.all("audio")] == [f"made/level_0/item_{i}.wav" for i in (0, 1)]
    assert {audio.attributes["preload"] for audio in root.all("audio")} == {"none"}
    assert second.all("audio")[1].attributes["aria-label"] == "made, item 1, level 0"
    assert second.all("a")[0].attributes["href"] == "made/index.html"
    assert second.all("img")[0].attributes["loading"] == "lazy"
    assert third.all("audio") == third.all("img") == third.all("a") == []
    summary = root.all("p", **{"class": "summary"})[0].words
    seconds = 4 * Song.open(done).resolved.samples / Song.open(done).sr
    assert summary == f"1 of 3 songs done · 1 in progress · 1 not started · {seconds:.1f} seconds of audio"
    assert "secret" not in page.read_text(encoding="utf-8")
    assert str(tmp_path) not in page.read_text(encoding="utf-8")
    assert len(links(root)) == 8
    assert leads_to_files(page, links(root))


def test_a_song_that_cannot_be_read_or_is_not_there_says_so(made: Path, tmp_path: Path) -> None:
    damaged, foreign, codes = (shutil.copytree(made, tmp_path / name) for name in ("damaged", "foreign", "codes"))
    (damaged / "song.json").write_text("{")
    (foreign / "song.json").write_text((made / "song.json").read_text().replace("tiny.yaml", "gone.yaml"))
    (codes / "level_1" / "codes.safetensors").write_bytes(b"no codes")
    songs = [damaged, foreign, codes, tmp_path / "nowhere", made]
    root = read(write_album_page(tmp_path, "An album", "", songs))
    rows = root.all("li", **{"class": "song"})
    assert [row.attributes["data-state"] for row in rows] == [*["unreadable"] * 3, "not started", "done"]
    told = [row.all("p", **{"class": "why"})[0].words for row in rows[:4]]
    assert told[0].startswith("damaged/song.json is damaged")
    assert "there is no model file" in told[1]
    assert told[2].startswith("codes/level_1/codes.safetensors is damaged")
    assert told[3] == "Not started yet."
    assert rows[0].all("a")[0].attributes["href"] == "damaged/index.html", "its own page may tell more"
    assert "1 of 5 songs done · 0 in progress · 1 not started · 3 unreadable" in root.words


def test_only_audio_of_the_codes_as_they_are_can_be_played(made: Path, tmp_path: Path) -> None:
    song = shutil.copytree(made, tmp_path / "song")
    wav = song / "level_0" / "item_0.wav"
    wav.write_bytes(wav.read_bytes()[:1000])
    (song / "level_0" / "item_1.wav").unlink()
    shutil.copy(made / "level_1" / "codes.safetensors", song / "level_2")  # of another shape: not to be taken for it
    root = read(write_album_page(tmp_path, "An album", "", [song]))
    assert root.all("li", **{"class": "song"})[0].attributes["data-state"] == "unreadable"
    shutil.copy(made / "level_2" / "codes.safetensors", song / "level_2")
    row = read(write_album_page(tmp_path, "An album", "", [song])).all("li", **{"class": "song"})[0]
    assert [audio.attributes["src"] for audio in row.all("audio")] == [f"song/level_1/item_{i}.wav" for i in (0, 1)]
    assert row.attributes["data-state"] == "in progress"
    assert "The audio of level 0 has not been written yet." in row.words


def test_only_what_was_chosen_for_upsampling_is_heard_at_level_0(made: Path, tiny: Path, tmp_path: Path) -> None:
    song = jk.level_2(Song.create(tmp_path / "song", model=tiny, **REQUEST))
    jk.upsample(song, (1,))
    row = read(write_album_page(tmp_path, "An album", "", [song.root])).all("li", **{"class": "song"})[0]
    assert [e.attributes["src"] for e in row.all("audio")] == ["song/level_2/item_0.wav", "song/level_0/item_1.wav"]
    assert row.attributes["data-state"] == "done"


def test_a_song_that_somebody_holds_is_in_work(made: Path, tmp_path: Path) -> None:
    song = Song.open(shutil.copytree(made, tmp_path / "song"))
    with song.locked():
        held = read(write_album_page(tmp_path, "An album", "", [song.root]))
    free = read(write_album_page(tmp_path, "An album", "", [song.root]))
    assert [root.all("li", **{"class": "song"})[0].attributes["data-state"] for root in (held, free)] == [
        "in progress",
        "done",
    ]


@pytest.mark.parametrize("name", ["it's #1 50%20 ü?", "a:b&c<d>\"e'"])
def test_links_lead_to_folders_of_any_name_wherever_they_are(made: Path, tmp_path: Path, name: str) -> None:
    inside = shutil.copytree(made, tmp_path / name)
    outside = shutil.copytree(made, tmp_path / "other" / name)
    page = write_album_page(tmp_path / "album", "An album", "", [inside, outside])
    root = read(page)
    assert len(links(root)) == 8
    assert leads_to_files(page, links(root))
    assert all(link.startswith("../") for link in links(root))
    assert root.all("h2")[0].words == name


def test_a_name_that_is_no_text_is_shown_as_far_as_it_is(made: Path, tmp_path: Path) -> None:
    song = shutil.copytree(made, tmp_path / os.fsdecode(b"latin \xe9"))
    page = write_album_page(tmp_path, "An album", "", [song])
    root = read(page)
    assert root.all("h2")[0].words == "latin ?"
    assert root.all("a")[0].attributes["href"] == "latin%20%E9/index.html"
    assert leads_to_files(page, links(root))


def test_hostile_text_stays_text(made: Path, tmp_path: Path) -> None:
    song = Song.open(shutil.copytree(made, tmp_path / "song"))
    song.keep(replace(song.manifest, request=replace(song.request, artist=HOSTILE, genre=HOSTILE)))
    broken = shutil.copytree(made, tmp_path / "broken")
    (broken / "song.json").write_text((made / "song.json").read_text().replace('"seed"', '"<b onclick=x>"'))
    page = write_album_page(tmp_path, HOSTILE, HOSTILE, [song.root, broken], {HOSTILE: HOSTILE})
    root = read(page)
    assert len(root.all("script")) == 1
    assert all("x" not in link for link in links(root) if "index" not in link)
    assert not any(name.startswith("on") for element in every(root) for name in element.attributes)
    assert "<!--" not in page.read_text(encoding="utf-8")
    assert root.words.count("<img src=x onerror=alert(2)>") == 7, "it is shown, not dropped"
    assert root.all("li", **{"class": "song"})[0].attributes["data-words"] == f"song {HOSTILE} {HOSTILE}"


def test_a_page_that_is_as_it_is_to_be_is_left_alone(made: Path, tmp_path: Path) -> None:
    page = write_album_page(tmp_path, "An album", "", [made])
    before = page.stat()
    write_album_page(tmp_path, "An album", "", [made])
    assert page.stat().st_ino == before.st_ino
    write_album_page(tmp_path, "Another", "", [made])
    assert page.stat().st_ino != before.st_ino, "it is written beside and put in its place"
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_a_song_s_own_page_is_not_written_over(made: Path) -> None:
    before = (made / "index.html").read_bytes()
    with pytest.raises(SongError, match="the folder above"):
        write_album_page(made, "An album", "", [made])
    assert (made / "index.html").read_bytes() == before


def test_two_hundred_songs_are_read_once_each(
    made: Path, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs = [shutil.copytree(made if i % 2 else begun, tmp_path / f"song {i:03}") for i in range(200)]
    read_codes: list[int] = []
    loaded: list[str] = []
    read_level = SongState._read

    def counted(state: SongState, level: int) -> Any:
        read_codes.append(level)
        return read_level(state, level)

    def loading(model: str) -> Any:
        loaded.append(model)
        return load_definition(model)

    monkeypatch.setattr(SongState, "_read", counted)
    monkeypatch.setattr("jukebox_kit.jobs.album.page.load_definition", loading)
    since = time.process_time()
    page = write_album_page(tmp_path, "An album", "", songs)
    spent = time.process_time() - since
    root = read(page)
    assert [h2.words for h2 in root.all("h2")] == [song.name for song in songs]
    assert "100 of 200 songs done · 100 in progress · 0 not started" in root.words
    assert len(read_codes) == 3 * len(songs)
    assert len(loaded) == 1
    assert spent < 2, "a fifth of a second of one core; the rest is for busy machines"
    assert page.stat().st_size < 400_000

"""Lyrics with times: each form is read right or refused in one sentence; nothing in plain lyrics is a time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukebox_kit.errors import RequestError
from jukebox_kit.song.lyrics.lrc import (
    MAX_LINES,
    Phrase,
    end_of_lyrics,
    has_times,
    lyric_labels,
    phrases_of,
    without_times,
)
from jukebox_kit.song.lyrics.reading import decoded_lyrics, read_lyrics

SONG = "[ar:The Beatles]\n[00:05.00]La la la\n[00:08.00]so so so\n[00:12.00]end\n"

SAID = [  # the text; the sentence
    ("[00:75.00]la", r"lyrics, line 1 has the time \[00:75.00\], with more than 59 seconds; write \[01:15.00\]\."),
    ("[00:01]la\n[0:1:2:3]la", r"line 2 has the time \[0:1:2:3\]; write minutes and seconds as \[01:23.45\]\."),
    ("[00:01]la\n[-00:01.00]la", r"line 2 has the time \[-00:01.00\]; write"),
    ("[00:01]la\n[99999:00]la", r"line 2 has the time \[99999:00\]; write"),
    ("[00:01]la\n[00:01.1234]la", r"line 2 has the time \[00:01.1234\]; write"),
    ("[00:01]la\nlo [00:03]", r"line 2 has a time after its text; begin the line with it\."),
    ("[00:01]<00:02>la <00:01.50>lo", r"line 1 has the time <00:01.50> after a later one; put them in order\."),
    ("[00:03]<00:02>la", r"line 1 has the time <00:02> after a later one"),
    ("[00:01]<00:02>la <0:1:2:3>lo", r"line 1 has the time <0:1:2:3>; write minutes and seconds as <01:23.45>\."),
    ("[offset:soon]\n[00:01]la", r"line 1 has the offset 'soon'; write milliseconds, such as \[offset:\+250\]\."),
    ("[00:01]la\n" * (MAX_LINES + 1), r"lyrics has 100,001 lines; 100,000 are the most with times\."),
]


def lines(text: str) -> list[tuple[float, str]]:
    return [(phrase.start, phrase.text.strip()) for phrase in phrases_of(text) if phrase.text.strip()]


def test_lines_last_until_the_next_one() -> None:
    assert phrases_of(SONG) == (
        Phrase(5.0, 8.0, "La la la\n"),
        Phrase(8.0, 12.0, "so so so\n"),
        Phrase(12.0, 13.3125, "end"),  # 3 characters, as slow as the median of 3/8 and 4/8 seconds
    )
    assert end_of_lyrics(SONG) == 13.3125
    assert without_times(SONG) == "La la la\nso so so\nend"


def test_what_a_pause_is() -> None:
    """A line that would last much longer than the others ends, and so does one before an empty line with a time."""
    text = "[00:00]la la la\n[00:04]so so so\n[00:08]ti ti ti\n[00:40]do do do\n[00:42]\n[00:50]re re re"
    ends = {phrase.text.strip(): phrase.end for phrase in phrases_of(text)}
    assert ends == {"la la la": 4, "so so so": 8, "ti ti ti": 16, "do do do": 42, "re re re": 54, "": 42}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[00:02][00:01]a\n[00:01.5]b", [(1, "a"), (1.5, "b"), (2, "a")]),
        ("[0:01.5]a\n[00:02,25]b\n[00:03:50]c\n[ 00:04 ] d", [(1.5, "a"), (2.25, "b"), (3.5, "c"), (4, "d")]),
        ("[offset:+500]\n[00:02]a\n[00:00.2]b", [(0, "b"), (1.5, "a")]),
        ("[00:02]a\n[offset:-500]", [(2.5, "a")]),
        ("[100:00.00]a", [(6000, "a")]),
        ("  [00:01]a\n\n\n  \n[00:02]  b  ", [(1, "a"), (2, "b")]),
        ("<00:01>a <00:02>b", [(1, "a"), (2, "b")]),
        ("[00:01] <00:01> a  <00:02> b <00:03>", [(1, "a"), (2, "b")]),
        ("[00:01]a [00:02]b", [(1, "a"), (2, "b")]),
        ("[00:01]ha<00:02>lo", [(1, "ha"), (2, "lo")]),
        ("[00:10][00:20]<00:10>a <00:12>b", [(10, "a"), (12, "b"), (20, "a"), (22, "b")]),
        ("[00:01.50]", []),
        ("[00:01]Re: Adele\n[Chorus: all]", [(1, "Re: Adele\n[Chorus: all]")]),
        ("title\n[00:04]a", [(0, "title"), (4, "a")]),
    ],
)
def test_forms(text: str, wanted: list[tuple[float, str]]) -> None:
    assert lines(text) == wanted


def test_lines_without_times_share_the_time_until_the_next_one() -> None:
    text = "[00:00]1234\n[Verse]\n1234\n[00:34]la"
    (first, second) = phrases_of(text)
    assert (first.start, first.end, first.text) == (0, 34, "1234\n[Verse]\n1234\n")
    tokens, due = lyric_labels(text, "v3", 10)
    assert due == ((0, 0, 340), (18, 340, int(second.end * 10)))
    assert len(tokens) == 20


@pytest.mark.parametrize(("text", "said"), SAID)
def test_what_cannot_be_read_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        phrases_of(text)
    assert "\n" not in str(caught.value)
    assert caught.value.field == "lyrics"


@pytest.mark.parametrize("text", ["la [00:12.00] la", "[3:1", "[Verse 1]\nla", "[12.00]la", "<b>la</b>", "1:23 la", ""])
def test_other_texts_are_plain(text: str) -> None:
    assert not has_times(text)
    assert (phrases_of(text), without_times(text)) == ((), text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_files_in_any_encoding_and_with_any_line_ends(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "song.LRC"
    path.write_bytes(SONG.replace("\n", end).encode(encoding))
    assert read_lyrics(path) == SONG


def test_faults_of_files_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "song.lrc"
    path.write_bytes("[ti:x]\r\n\r\n[00:61.00]la".encode("utf-16"))
    with pytest.raises(RequestError, match=r"song\.lrc, line 3 has the time \[00:61\.00\]"):
        read_lyrics(path)
    path.write_bytes("[00:01.00]la".encode("utf-16-le"))
    with pytest.raises(RequestError, match=r"song\.lrc is not text in UTF-8; save the lyrics as UTF-8\."):
        read_lyrics(path)
    with pytest.raises(RequestError, match=r"words\.txt, line 2 has the time"):
        decoded_lyrics(b"[00:01]la\n[00:60]lo", "words.txt")


def test_an_lrc_without_times_is_plain_text_without_metadata() -> None:
    assert decoded_lyrics(b"[ar:x]\n[length:03:10]\n\n[Chorus]\nla\n", "a.lrc") == "[Chorus]\nla"
    assert decoded_lyrics(b"[ar:x]\nla", "a.txt") == "[ar:x]\nla"
    with pytest.raises(RequestError, match=r"a\.lrc, line 1 has the time \[1:2:3:4\]"):
        decoded_lyrics(b"[1:2:3:4]la", "a.lrc")


ENTRIES = st.lists(
    st.tuples(st.integers(0, 99_999), st.text("abc [](:.'", max_size=12).map(lambda text: f"w{text}".strip())),
    min_size=1,
    max_size=12,
    unique_by=lambda entry: entry[0],
)


@settings(max_examples=60, deadline=None)
@given(ENTRIES, st.randoms(use_true_random=False), st.sampled_from([2, 3]))
def test_what_is_written_in_any_order_is_read_in_the_order_of_time(
    entries: list[tuple[int, str]], chance: object, digits: int
) -> None:
    """Times in hundredths, as two or three digits, lines shuffled by chance; the reader puts them right."""
    shuffled = list(entries)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
    text = "\n".join(
        f"[{at // 6000:02}:{at // 100 % 60:02}.{f'{at % 100:02}0'[:digits]}]{words}" for at, words in shuffled
    )
    found = phrases_of(text)
    wanted = sorted(entries)
    assert [phrase.text.rstrip("\n") for phrase in found] == [words for _, words in wanted]
    assert [phrase.start for phrase in found] == pytest.approx([at / 100 for at, _ in wanted])
    edges = [edge for phrase in found for edge in (phrase.start, phrase.end)]
    assert edges == sorted(edges)


@settings(max_examples=150, deadline=None)
@given(st.text("[]<>0123:., \nabé", max_size=60))
def test_any_text_is_read_or_refused_in_a_sentence(text: str) -> None:
    try:
        found, said = phrases_of(text), ""
    except RequestError as error:
        found, said = (), str(error)
    if said:
        assert said.startswith("lyrics, line ")
        assert (has_times(text), said[-1], said.count("\n")) == (True, ".", 0)
        return
    edges = [edge for phrase in found for edge in (phrase.start, phrase.end)]
    assert edges == sorted(edges)
    assert bool(found) or not has_times(text) or not without_times(text)

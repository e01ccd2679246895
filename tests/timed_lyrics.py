"""Lyrics with a pause of two bars, on the demo: which characters each window reads with times, and by the even rule.

It samples nothing: it shows what the model is given. The demo itself does not sing the words that it is given.

    python -m tests.timed_lyrics
"""

from __future__ import annotations

import random
import sys

from jukebox_kit.engine import Model
from jukebox_kit.song import Resolved, normalise_request, resolve
from jukebox_kit.song.lyrics import Stretch, stretches, without_times
from jukebox_kit.training import GENRES

GENRE, BEATS_IN_BAR, BARS_BEFORE, PAUSE_BARS, BARS_AFTER = 3, 4, 8, 2, 8  # of a dance

WORDS = [consonant + vowel for consonant in "bdlmnst" for vowel in "aeiou"]


def main() -> None:
    """Print a table of windows."""
    model, style = Model.load("demo", "cpu"), GENRES[GENRE]
    beat = 60 / style.bpm
    bar, seconds = BEATS_IN_BAR * beat, (BARS_BEFORE + PAUSE_BARS + BARS_AFTER) * BEATS_IN_BAR * beat
    words = iter(random.Random(0).sample(WORDS, len(WORDS)) * 2)
    lines: list[str] = []
    for number in [*range(BARS_BEFORE), *range(BARS_BEFORE + PAUSE_BARS, BARS_BEFORE + PAUSE_BARS + BARS_AFTER)]:
        lines.append(_stamp(number * bar) + " ".join(next(words) for _ in range(BEATS_IN_BAR)))
    lines.insert(BARS_BEFORE, _stamp(BARS_BEFORE * bar))
    text = "\n".join(lines)
    _say(f"demo, {style.name}, {style.bpm:g} bpm, {seconds:.1f} s; a beat for each syllable:\n\n{text}\n")
    timed, even = (_windows(model, words, seconds) for words in (text, without_times(text)))
    first_after = without_times(text).index("\n\n") + 2
    pause = BARS_BEFORE * bar, (BARS_BEFORE + PAUSE_BARS) * bar
    _say(f"the pause lasts from {pause[0]:.2f} to {pause[1]:.2f} s; characters from {first_after + 1} on follow it\n")
    _say("window (s)      | with times | by the even rule | sung in it")
    for one, other in zip(timed, even, strict=True):
        spans = f"{one.first + 1:4}-{one.last:<4}  | {other.first + 1:4}-{other.last:<4}       "
        _say(f"{one.start:5.2f} to {one.end:5.2f}  | {spans} | {one.due_text}")
    for name, windows in (("with times", timed), ("by the even rule", even)):
        both = list(zip(windows, timed, strict=True))
        inner = [pair for pair in both if pair[1].first > 0 and pair[1].last < timed[-1].last]  # not held by an end
        missed, most = sum(_missed(*pair) for pair in both), max(_off_centre(*pair) for pair in inner)
        _say(
            f"{name}: {missed} of {sum(_count(one) for one in timed)} characters that are due are not read; the middle "
            f"of a window's text is at most {most:g} characters from the middle of what is due"
        )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _stamp(seconds: float) -> str:
    return f"[{int(seconds // 60):02}:{seconds % 60:05.2f}]"


def _windows(model: Model, lyrics: str, seconds: float) -> tuple[Stretch, ...]:
    request = normalise_request({"model": "demo", "lyrics": lyrics, "seconds": seconds, "total_seconds": seconds})
    resolved: Resolved = resolve(request, model.definition, model.tables)
    return stretches(resolved, model.definition)


def _count(timed: Stretch) -> int:
    assert timed.due is not None
    return timed.due[1] - timed.due[0]


def _missed(window: Stretch, timed: Stretch) -> int:
    """Return how many characters that are due in a window it does not read; timed: the same window with times."""
    assert timed.due is not None
    return len(set(range(*timed.due)) - set(range(window.first, window.last)))


def _off_centre(window: Stretch, timed: Stretch) -> float:
    """Return how many characters the middle of what a window reads is from the middle of what is due in it."""
    assert timed.due is not None
    return abs(window.first + window.last - sum(timed.due)) / 2


if __name__ == "__main__":
    main()

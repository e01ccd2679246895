"""Not a test: `python -m tests.probe` trains probes on features of the demo, and scores songs and what spoils them.

Probes (logistic regression) tell artist and genre of held-out synthesised clips from the mean over time of each
layer, and from the mean and deviation of a log-mel spectrogram. `python -m tests.probe scores` prints bits per token
of level 2 instead: of songs under their own labels and under others, shuffled, and of noise and silence. It exits with
1 if a claim does not hold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jukebox_kit.analysis.extractor import features
from jukebox_kit.analysis.scoring import score
from jukebox_kit.analysis.settings import ScoreSettings
from jukebox_kit.model.weights import load_definition
from jukebox_kit.training import ARTISTS, GENRES, SynthSong, synthesise

Audio = NDArray[np.float32]

LEAST = 0.95  # of the held-out clips, right with the best layer

SEED = 77_000_000  # of songs that the demo was not trained on

PIECE_SECONDS = 0.25  # of a shuffled song


def songs(count: int, seconds: float, seed: int) -> list[tuple[SynthSong, int, int]]:
    """Return songs with their artists and genres, over all pairs."""
    sr = load_definition("demo").vqvae.sr
    pairs = [(i % len(ARTISTS), i // len(ARTISTS) % len(GENRES)) for i in range(count)]
    return [(synthesise(seed + i, *pair, seconds, sr), *pair) for i, pair in enumerate(pairs)]


def log_mel(audio: Audio, sr: int) -> NDArray[Any]:
    """Return the mean and the deviation over time of 64 bands, (128,)."""
    import librosa

    bands: Any = librosa
    levels = np.log(bands.feature.melspectrogram(y=audio, sr=sr, n_mels=64) + 1e-6)
    return np.concatenate([levels.mean(1), levels.std(1)])


def accuracy(train: NDArray[Any], wanted: Sequence[int], test: NDArray[Any], right: Sequence[int]) -> float:
    """Return the share of the test's rows that a probe tells."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
    return float(probe.fit(train, wanted).score(test, right))


def probes(count: int, seconds: float) -> bool:
    """Print the accuracy of probes; returns whether one layer tells both names of at least LEAST of the clips."""
    definition = load_definition("demo")
    layers = tuple(range(1, definition.top.prior_depth + 1))
    sets = [songs(count, seconds, SEED), songs(count // 2, seconds, SEED + 10_000)]
    clips = [[song.audio for song, _, _ in one] for one in sets]
    found = [features(one, model="demo", layers=layers, pool="mean", batch_size=4, device="cpu") for one in clips]
    names = {
        "artist": [[artist for _, artist, _ in one] for one in sets],
        "genre": [[genre for _, _, genre in one] for one in sets],
    }
    inputs = {f"layer {n}": [np.stack([clip.layer(n) for clip in one]) for one in found] for n in layers}
    inputs["log-mel"] = [np.stack([log_mel(audio, definition.vqvae.sr) for audio in one]) for one in clips]
    good = False
    sys.stdout.write(f"{count} clips of {seconds:g} s to train, {count // 2} to test\n")
    for name, (train, test) in inputs.items():
        shares = {kind: accuracy(train, wanted, test, right) for kind, (wanted, right) in names.items()}
        sys.stdout.write(f"{name:<8} artist {shares['artist']:.1%}, genre {shares['genre']:.1%}\n")
        good |= name != "log-mel" and min(shares.values()) >= LEAST
    return good


def scores(count: int, seconds: float) -> bool:
    """Print bits per token; returns whether they are in the expected order for every song."""
    sr, rng, good = load_definition("demo").vqvae.sr, np.random.default_rng(0), True
    for song, artist, genre in songs(count, seconds, SEED + 20_000):
        own = ARTISTS[artist].name, GENRES[genre].name
        other = ARTISTS[(artist + 2) % len(ARTISTS)].name, GENRES[(genre + 2) % len(GENRES)].name
        each = int(PIECE_SECONDS * sr)
        pieces = [song.audio[first : first + each] for first in range(0, len(song.audio), each)]
        rng.shuffle(pieces)
        loud = rng.uniform(-0.5, 0.5, len(song.audio)).astype(np.float32)
        cases = {
            "own": (song.audio, own),
            "other": (song.audio, other),
            "silence": (np.zeros_like(song.audio), own),
            "shuffled": (np.concatenate(pieces), own),
            "noise": (loud, own),
        }
        bits = {name: _bits(audio, names, song.lyrics) for name, (audio, names) in cases.items()}
        sys.stdout.write(f"{own[0]}, {own[1]}: {', '.join(f'{name} {value:.2f}' for name, value in bits.items())}\n")
        ordered = bits["own"] < bits["other"] < bits["noise"] and bits["own"] < bits["shuffled"] < bits["noise"]
        good &= ordered and bits["own"] < bits["silence"] < bits["noise"]
    return good


def _bits(audio: Audio, names: tuple[str, str], lyrics: str) -> float:
    return score(audio, ScoreSettings("demo", *names, lyrics, levels=2)).level(2).mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("probes", "scores"), nargs="?", default="probes")
    parser.add_argument("--clips", type=int, default=96)
    given = parser.parse_args()
    good = scores(8, 9.0) if given.what == "scores" else probes(given.clips, 9.0)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

"""Measures a model: whether it plays the requested scale, tempo and timbre and sings the requested words.

The demo's artists and genres are those of synthesised music, which classifiers can tell apart; so a model is measured
on those of them that its labels know, as models that were fine-tuned from the demo do.

Everything is sampled from fixed seeds, so running it again gives the same songs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from jukebox_kit.checks.evaluate.measures import Listener, log_spectral_distance, scale_share, tempo_bpm
from jukebox_kit.engine import UNSAMPLED, LevelJob, Model, SamplingParams, plan_level, sample_level
from jukebox_kit.errors import RequestError
from jukebox_kit.model import DOWNWARD, TOP, Labels, lyric_tokens
from jukebox_kit.song import Audio
from jukebox_kit.training import ARTISTS, GENRES, VOWELS, SynthSong, synthesise

log = logging.getLogger(__name__)

Pairs: TypeAlias = "Sequence[tuple[int, int]]"
"""An artist and a genre for each song, as indices in ARTISTS and GENRES."""

PAIRS: Pairs = [(artist, genre) for genre in range(len(GENRES)) for artist in range(len(ARTISTS))]

LISTENER_SEEDS = tuple(range(900, 908))

SHUFFLES = 100

FLOORS_DB = (-40, -50, -60, -80)

CLEAN_SEED = 1000  # songs that neither the model nor the listener was trained on

Report = Callable[[str], None]


@dataclass
class Heard:
    """The measurements of a set of songs: for each, what was requested and what was recognised."""

    asked: list[tuple[int, int]] = field(default_factory=list)
    sounded: list[tuple[int, int]] = field(default_factory=list)
    scale: dict[str, list[float]] = field(default_factory=dict)
    tempo_error: dict[str, list[float]] = field(default_factory=dict)
    vowels: list[float] = field(default_factory=list)

    def listen(self, listener: Listener, audio: Audio, pair: tuple[int, int], song: SynthSong) -> None:
        """Add a song; `song` is the synthesised one whose words were requested."""
        style, sr = GENRES[pair[1]], listener.sample_rate
        self.asked.append(pair)
        self.sounded.append((listener.artist(audio), listener.genre(audio)))
        self.scale.setdefault(style.name, []).append(scale_share(audio, sr, style.pitch_classes))
        self.tempo_error.setdefault(style.name, []).append(abs(tempo_bpm(audio, sr) / style.bpm - 1))
        whole = [t for t in song.syllable_seconds if t + 0.4 < len(audio) / sr]
        sung = [VOWELS.index(s[1]) for s in song.lyrics.split()[: len(whole)]]
        found = listener.vowels(audio, whole, pair[0])
        self.vowels.append(float(np.mean([a == b for a, b in zip(found, sung, strict=True)])))

    def summary(self, sings: bool = True) -> dict[str, object]:
        """Return the means over songs; sings: whether words were requested."""
        artist, genre = (np.array(self.asked) == np.array(self.sounded)).mean(0).tolist()
        rng = np.random.Generator(np.random.PCG64(0))
        shuffles = [rng.permutation(np.array(self.asked)) == np.array(self.sounded) for _ in range(SHUFFLES)]
        shuffled_artist, shuffled_genre = np.mean(shuffles, axis=(0, 1)).tolist()
        return {
            "songs": len(self.asked),
            "artist_right": round(artist, 4),
            "genre_right": round(genre, 4),
            "artist_right_if_labels_are_shuffled": round(shuffled_artist, 4),
            "genre_right_if_labels_are_shuffled": round(shuffled_genre, 4),
            "scale_share": {name: _mean(values) for name, values in self.scale.items()},
            "tempo_within_3_percent": {name: _mean([v < 0.03 for v in vs]) for name, vs in self.tempo_error.items()},
            **({"vowels_as_the_lyrics_say": _mean(self.vowels)} if sings else {}),
        }


def evaluate(model: Model, seeds: Sequence[int], seconds: float = 8.0, report: Report = log.info) -> dict[str, object]:
    """Sample every pair of artist and genre for each seed, and return the measurements of each level, by name.

    The pairs are those whose names the model knows; RequestError if it knows none. What a model that reads no lyrics
    sings, and bits under other names where all pairs share one, are not measured.
    """
    pairs = known_pairs(model)
    sr, sings = model.definition.vqvae.sr, model.definition.top.use_tokens
    report(f"fitting the listener on {len(LISTENER_SEEDS) * len(PAIRS)} synthesised clips, clean and decoded")
    plain = Listener.fit(LISTENER_SEEDS, seconds, sr)
    # The codec colours the sound, so each level gets a listener that was fitted on its decoded clips.
    listeners = {k: Listener.fit(LISTENER_SEEDS, seconds, sr, partial(decoded, model, level=k)) for k in (0, 1, 2)}
    clean = [synthesise(CLEAN_SEED, artist, genre, seconds, sr) for artist, genre in pairs]
    found: dict[str, object] = {"clean": _heard(plain, [s.audio for s in clean], clean, pairs).summary()}
    for level in (0, 1, 2):
        audios = [decoded(model, song.audio, level) for song in clean]
        found[f"decoded_level_{level}"] = _heard(listeners[level], audios, clean, pairs).summary()
    totals = {level: Heard() for level in (0, 1, 2)}
    for seed in seeds:
        songs = [synthesise(CLEAN_SEED + 1 + seed, artist, genre, seconds, sr) for artist, genre in pairs]
        codes = sample_pairs(model, songs, pairs, seed, seconds, report)
        for level, tokens in codes.items():
            audios = [model.vqvae.decode(row[None], level)[0, :, 0].numpy() for row in tokens]
            _heard(listeners[level], audios, songs, pairs, totals[level])
    found |= {f"sampled_level_{level}": heard.summary(sings) for level, heard in totals.items()}
    found["distance_to_clean_db"] = distances(model, clean, pairs, report)
    found["bits_a_token"] = lyric_bits(model, clean, pairs)
    return found


def known_pairs(model: Model) -> Pairs:
    """Return the pairs of artist and genre whose names all levels of a model know; RequestError if there are none."""
    known = [pair for pair in PAIRS if all(_names(model, pair, level) is not None for level in DOWNWARD)]
    if not known:
        artists, genres = (", ".join(one.name for one in table) for table in (ARTISTS, GENRES))
        raise RequestError(
            f"{model.definition.name} knows no artist of {artists} with a genre of {genres}; evaluate a model that "
            f"does, such as one fine-tuned from the demo.",
            field="model",
        )
    return known


def _names(model: Model, pair: tuple[int, int], level: int) -> tuple[int, tuple[int, ...]] | None:
    """Return the ids of an artist and a genre for a level's prior; None if it does not know them."""
    prior = model.definition.priors[level]
    table = model.tables[prior.label_set]
    artist = table.artist(ARTISTS[pair[0]].name)
    genre = table.genre(GENRES[pair[1]].name, prior.max_bow_genre_size)
    return None if artist.notes or genre.notes else (artist.ids[0], genre.ids)


def decoded(model: Model, audio: Audio, level: int) -> Audio:
    """Encode (samples,), whole tokens of the top level, at one level and return the decoded audio."""
    hop = model.definition.vqvae.hops[-1]
    whole = torch.from_numpy(audio[: len(audio) // hop * hop])[None, :, None]
    decoded_audio: Audio = model.vqvae.decode(model.vqvae.encode(whole)[level], level)[0, :, 0].numpy()
    return decoded_audio


def pair_labels(songs: Sequence[SynthSong], pairs: Pairs, model: Model, level: int) -> list[Labels]:
    """Return the labels of one song for each pair, as a level's prior reads them."""
    prior, labels = model.definition.priors[level], list[Labels]()
    for pair, song in zip(pairs, songs, strict=True):
        names = _names(model, pair, level)
        assert names is not None
        tokens = tuple(lyric_tokens(song.lyrics, prior.label_set)) if prior.use_tokens else ()
        labels.append(Labels(*names, tokens, len(song.audio)))
    return labels


def sample_pairs(
    model: Model,
    songs: Sequence[SynthSong],
    pairs: Pairs,
    seed: int,
    seconds: float,
    report: Report,
    given: Tensor | None = None,
) -> dict[int, Tensor]:
    """Sample all pairs as one batch, with the words of `songs`; given: level 2 codes to upsample instead.

    Returns the codes of each level, (pairs, tokens).
    """
    definition, upper_codes = model.definition, given
    samples = int(seconds * definition.vqvae.sr) // definition.vqvae.hops[-1] * definition.vqvae.hops[-1]
    found: dict[int, Tensor] = {} if given is None else {2: given}
    for level in DOWNWARD if given is None else (1, 0):
        report(f"seed {seed}: level {level}")
        prior = definition.priors[level]
        plan = plan_level(prior, definition.vqvae, samples, definition.sampling.hop_fraction[level])
        labels = tuple(pair_labels(songs, pairs, model, level))
        choice = SamplingParams(definition.sampling.temperature[level])
        codes = torch.full((len(pairs), plan.total), UNSAMPLED)
        job = LevelJob(plan, tuple(range(len(pairs))), labels, upper_codes, seed, choice, model.placement)
        sample_level(model.prior(level), job, codes)
        found[level] = upper_codes = codes
    return found


def distances(model: Model, clean: Sequence[SynthSong], pairs: Pairs, report: Report) -> dict[str, dict[str, float]]:
    """Return the mean log-spectral distance in dB between clean songs and their decoded or upsampled codes.

    For several floors: synthesised songs are silent between their notes, where a codec's hiss counts most.
    """
    sr, seconds = model.definition.vqvae.sr, len(clean[0].audio) / model.definition.vqvae.sr
    codes = sample_pairs(model, clean, pairs, 0, seconds, report, given=_top_codes(model, clean))
    heard = {f"decoded_level_{k}": [decoded(model, song.audio, k) for song in clean] for k in (0, 1, 2)}
    for level in (1, 0):
        rows = [model.vqvae.decode(row[None], level)[0, :, 0].numpy() for row in codes[level]]
        heard[f"level_2_upsampled_to_{level}"] = rows
    found: dict[str, dict[str, float]] = {}
    for name, audios in heard.items():
        both = [(song.audio[: len(audio)], audio) for song, audio in zip(clean, audios, strict=True)]
        found[name] = {
            f"above_{floor}_db": _mean([log_spectral_distance(a, b, sr, floor) for a, b in both]) for floor in FLOORS_DB
        }
    return found


@torch.no_grad()
def lyric_bits(model: Model, clean: Sequence[SynthSong], pairs: Pairs) -> dict[str, float]:
    """Return the top prior's bits per token on new songs: with their labels, with other words, with other names.

    Other words are left out for a model that reads none, other names unless artist and genre can both differ.
    """
    top = model.top
    codes = _top_codes(model, clean)[:, : top.config.n_ctx]
    labels = pair_labels(clean, pairs, model, TOP)
    by = len({artist for artist, _ in pairs}) + 1  # where all pairs are known: another artist and another genre
    turned = [labels[(place + by) % len(labels)] for place in range(len(labels))]
    both = list(zip(labels, turned, strict=True))
    kinds = {"own": labels}
    if top.config.use_tokens and len(labels) > 1:
        kinds["other_words"] = [replace(a, tokens=b.tokens) for a, b in both]
    if all(a.artist != b.artist and a.genres != b.genres for a, b in both):
        kinds["other_artist_and_genre"] = [replace(b, tokens=a.tokens, total=a.total) for a, b in both]
    rows = {kind: torch.tensor([lab.row(top.config, top.hop, 0) for lab in labs]) for kind, labs in kinds.items()}
    return {kind: float(top.losses(codes, y)[0]) for kind, y in rows.items()}


def _heard(
    listener: Listener, audios: Sequence[Audio], songs: Sequence[SynthSong], pairs: Pairs, into: Heard | None = None
) -> Heard:
    heard = into or Heard()
    for pair, audio, song in zip(pairs, audios, songs, strict=True):
        heard.listen(listener, audio, pair, song)
    return heard


def _top_codes(model: Model, songs: Sequence[SynthSong]) -> Tensor:
    """Return the level 2 codes of songs of one length, (songs, tokens)."""
    hop = model.definition.vqvae.hops[-1]
    whole = [torch.from_numpy(song.audio)[None, : len(song.audio) // hop * hop, None] for song in songs]
    return torch.cat([model.vqvae.encode(audio)[2] for audio in whole])


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)

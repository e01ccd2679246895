"""The windows that a fine-tuning job trains on and measures, and its previews, made of its datasets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from jukebox_kit._files import shown_path
from jukebox_kit.errors import ConfigurationError
from jukebox_kit.model import TOP, Labels, Prior
from jukebox_kit.model.weights import read_tables
from jukebox_kit.training.dataset import Dataset, DatasetSong
from jukebox_kit.training.job import FineTuningJob
from jukebox_kit.training.new_names import song_labels
from jukebox_kit.training.pieces import Pieces
from jukebox_kit.training.previews import Previews, previews_of
from jukebox_kit.training.prior import CodeCorpus
from jukebox_kit.training.ranks import Ranks
from jukebox_kit.training.replay import replay_labels, replay_windows_of
from jukebox_kit.training.trainer import SongWindows
from jukebox_kit.training.window_order import WindowOrder


def song_windows(job: FineTuningJob, prior: Prior, data: Dataset, songs: Sequence[DatasetSong]) -> SongWindows:
    """Return songs as they are trained on or measured. ConfigurationError if none is as long as a window."""
    level, definition = job.level, job.definition
    length = definition.priors[level].n_ctx * definition.vqvae.hops[level]
    long_enough = [song for song in songs if song.samples >= length]
    if not long_enough:
        seconds = definition.window_seconds(level)
        raise ConfigurationError(f"{shown_path(data.root)} has no songs of {seconds:.1f} s or more.")
    labels = [song_labels(song, job.extension.tables, definition, level) for song in long_enough]
    upper = None if level == TOP else data.load_codes(long_enough, level + 1)
    corpus = CodeCorpus(prior, data.load_codes(long_enough, level), upper, labels)
    unit = definition.vqvae.hops[-1]
    pieces = Pieces(tuple(song.samples // unit * unit for song in long_enough), length)
    return SongWindows(corpus, WindowOrder(pieces, job.settings.seed, unit))


def job_replay(
    job: FineTuningJob,
    prior: Prior,
    training: SongWindows,
    work: Path,
    ranks: Ranks,
    say: Callable[[str], None],
    stop: Callable[[], bool],
) -> SongWindows:
    """Return the windows that the base samples of names that it knows; the first process samples them.

    training: what is trained on, whose lyrics and upper codes are used. work: the folder that keeps the windows.
    stop: ends the sampling, if this process is the only one, with StoppedError.
    """
    known = read_tables(job.definition, job.base)[job.extension.label_set]
    songs, count = training.corpus, job.settings.replay_windows
    lyrics = sorted({labels.tokens for labels in songs.labels})
    labels = replay_labels(prior, known, lyrics, count, job.settings.seed)
    upper = None
    if songs.upper_codes is not None:
        length, hop = prior.config.n_ctx // prior.rate, prior.hop * prior.rate
        places = [(song, start // hop) for song, start in training.order.fixed(count)]
        upper = [songs.upper_codes[song][at : at + length] for song, at in (places * count)[:count]]
    if ranks.first:
        say(f"mixing in {count} windows of names that {job.definition.name} knows, sampled by itself")
        alone = ranks.count == 1  # the others would wait forever
        replay_windows_of(prior, labels, upper, job.settings.seed, work, stop if alone else lambda: False)
    ranks.shared(True)  # the others read them
    return replay_windows_of(prior, labels, upper, job.settings.seed, work)


def job_previews(job: FineTuningJob, songs: Sequence[DatasetSong]) -> Previews | None:
    """Return what is sampled while training, with the labels of some songs; None if the settings want nothing."""
    settings, level = job.settings, job.level
    labels = [song_labels(song, job.extension.tables, job.definition, level) for song in songs]
    upper = None if level == TOP else job.data.load_codes(songs, level + 1)
    if not settings.sample_seconds:
        return None
    return previews_of(labels, upper, settings.samples, settings.sample_seconds, settings.seed)


def preview_names(job: FineTuningJob) -> list[str]:
    """Return what each song is that a job samples while it trains."""
    previews = job_previews(job, job.data.split(held_out=True) or job.data.split(held_out=False))
    return [] if previews is None else [song_name(job, label) for label in previews.labels]


def song_name(job: FineTuningJob, label: Labels) -> str:
    """Return the artist and the genres of labels as text."""
    artists = {index: name for name, index in job.extension.tables.artists.items()}
    genres = {index: name for name, index in job.extension.tables.genres.items()}
    return f"{artists.get(label.artist, 'unknown')}, {', '.join(genres.get(g, 'unknown') for g in label.genres)}"

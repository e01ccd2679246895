"""Bits of recordings and songs: equal to what training measures, per level and over time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from jukebox_kit.analysis.scores import score_png
from jukebox_kit.analysis.scoring import score
from jukebox_kit.analysis.settings import ScoreSettings
from jukebox_kit.engine.model import Model
from jukebox_kit.errors import AudioError, RequestError
from jukebox_kit.model.labels import Labels
from jukebox_kit.song.song import Song
from jukebox_kit.steps.progress import RunSettings
from jukebox_kit.steps.steps import sample
from jukebox_kit.training.pieces import Pieces
from jukebox_kit.training.prior import CodeCorpus
from jukebox_kit.training.ranks import Ranks
from jukebox_kit.training.schedule import LearningRate
from jukebox_kit.training.trainer import SongWindows, StepSettings, Trainer
from jukebox_kit.training.window_order import WindowOrder
from tests.analysis.test_features import noise
from tests.conftest import shell

RUN = RunSettings("cpu", "float32")


@pytest.mark.parametrize("level", [2, 1, 0])
def test_windows_side_by_side_have_the_bits_that_training_measures(tiny: Path, level: int) -> None:
    model = Model.load(tiny, "cpu", "float32")
    prior = model.prior(level).requires_grad_(True)  # as the trainer needs it
    length, windows = prior.config.n_ctx * prior.hop, 6
    audio = noise(2.5)[: windows * length]
    audio = audio[: len(audio) // length * length]
    codes = model.vqvae.encode(torch.from_numpy(audio)[None, :, None]) if len(audio) % 128 == 0 else []
    found = score(audio, ScoreSettings(tiny, "The Beatles", "Pop", levels=level, overlap=0), RUN).level(level)
    labels = Labels(1, (1,), (), max(len(audio), 32000))
    corpus = CodeCorpus(prior, codes[level], codes[level + 1] if level < 2 else None, [labels])
    songs = SongWindows(corpus, WindowOrder(Pieces((len(audio),), length), 0, 128))
    trainer = Trainer(prior, songs, StepSettings(LearningRate(1e-3)), Ranks(0, 1, torch.device("cpu")))
    count = len(found.windows)
    fixed = [(0, start * prior.hop) for start, _ in found.windows]
    trained = trainer.bits(songs, fixed)
    assert sum(bits for _, bits in found.windows) == pytest.approx(trained * count, abs=1e-4 * count)
    assert found.mean == pytest.approx(trained, abs=1e-4)


def test_a_song_is_scored_by_its_codes_as_far_as_they_go(tiny: Path, tmp_path: Path) -> None:
    song = Song.create(tmp_path / "song", model=str(tiny), seconds=1.2, artist="The Beatles", items=2)
    sample(song, until=1, run=RunSettings("cpu", "float32", "cached"))
    found = score(song.root, ScoreSettings(item=1), RUN)
    assert [one.level for one in found.levels] == [2, 1]
    assert (found.artist, found.genre, found.lyrics) == ("The Beatles", "unknown", False)
    assert [len(one.bits) for one in found.levels] == [150, 600]
    other = score(song.root, ScoreSettings(item=1, artist="Zac Brown Band", levels=2), RUN)
    assert other.level(2).mean != pytest.approx(found.level(2).mean, abs=1e-4)
    with pytest.raises(RequestError, match="tokens at level 2 and level 1 only"):
        score(song.root, ScoreSettings(levels=0), RUN)
    curve = found.level(2).over_time(0.4)
    assert [second for second, _ in curve] == pytest.approx([0.0, 0.4, 0.8])
    assert np.mean([bits for _, bits in curve]) == pytest.approx(found.level(2).mean, rel=1e-5)
    assert score_png(found).startswith(b"\x89PNG")


def test_the_command_prints_json_and_draws(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from jukebox_kit.song.audio import save_audio

    save_audio(noise(1.0), tmp_path / "a.wav", 16000)
    picture = tmp_path / "a.png"
    command = ("score", tmp_path / "a.wav", "--model", tiny, "--levels", "2", "--device", "cpu")
    assert shell(monkeypatch, *command, "--picture", picture, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["levels"][0]["tokens"] == 125
    assert values["levels"][0]["bits"] == pytest.approx(values["levels"][0]["bits_per_token"] * 125)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert shell(monkeypatch, *command, "--overlap", "1") == 1
    assert "--overlap must be from 0" in capsys.readouterr().err


def test_what_cannot_be_scored_is_refused(tiny: Path) -> None:
    with pytest.raises(AudioError, match="a token of tiny covers 128"):
        score(noise(0.001), ScoreSettings(tiny), RUN)
    with pytest.raises(AudioError, match="must be mono"):
        score(np.zeros((2, 1000), np.float32), ScoreSettings(tiny), RUN)
    with pytest.raises(RequestError, match="there is no level 5"):
        ScoreSettings(levels=5)

"""Features: recorded numbers of three projects, windows, frames, and a folder of recordings that is resumed."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from jukebox_kit.analysis import folder as folders
from jukebox_kit.analysis.conventions import CONVENTIONS, ClipLabels, plan_windows, total_samples
from jukebox_kit.analysis.extractor import Extractor, features
from jukebox_kit.analysis.files import part_of
from jukebox_kit.analysis.folder import extract
from jukebox_kit.analysis.reducing import Reducer, Reduction
from jukebox_kit.analysis.settings import FeatureSettings
from jukebox_kit.analysis.states import layer_states
from jukebox_kit.checks.verify.features import check_case, feature_entries
from jukebox_kit.checks.verify.golden import Golden
from jukebox_kit.engine.model import Model
from jukebox_kit.engine.placement import Placement
from jukebox_kit.errors import AudioError, JukeboxKitError, LabelError, RequestError
from jukebox_kit.model.weights.definition import load_definition
from jukebox_kit.song.audio import save_audio
from tests.conftest import TESTS

Audio = NDArray[np.float32]


def noise(seconds: float, seed: int = 0) -> Audio:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, int(16000 * seconds)).astype(np.float32)


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden.read(TESTS / "golden_features", Placement(torch.device("cpu"), engine="plain"), "features")


def test_recorded_features_are_reproduced(golden: Golden) -> None:
    found = list(feature_entries(golden))
    assert [str(entry) for entry in found if not entry.ok] == []
    names = {entry.name for entry in found}
    kinds = (".layer_", ".full", ".mean", ".codes", ".y")
    compared = [name for name in golden.tensors if any(kind in name for kind in kinds)]
    assert {"load.mono", *compared} <= names


def test_the_conventions_differ_as_recorded(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {case["key"]: case for case in golden.scalars["cases"]}
    prior, vqvae = golden.prior("prior_5b_scaled"), golden.vqvae()
    one = cases["sheetsage.prior_5b_scaled.depth_5.one_window"]
    monkeypatch.setitem(CONVENTIONS, "sheetsage", replace(CONVENTIONS["sheetsage"], total_seconds=62.0))
    wrong = {entry.name.rpartition(".")[2] for entry in check_case(golden, one, vqvae, prior) if not entry.ok}
    assert wrong == {"y", "full"}
    lyrics = cases["jukemir.prior_1b_lyrics.depth_16.lyrics"]
    monkeypatch.setitem(CONVENTIONS, "jukemir", replace(CONVENTIONS["jukemir"], adds_conditioning=False))
    entries = check_case(golden, lyrics, vqvae, golden.prior("prior_1b_lyrics"))
    assert {entry.name.rpartition(".")[2] for entry in entries if not entry.ok} == {"full", "mean"}


def test_only_the_layers_that_are_needed_are_loaded(tiny: Path) -> None:
    shallow, whole = Model.load(tiny, "cpu", depth=2).top, Model.load(tiny, "cpu").top
    assert len(shallow.prior.transformer.layers) == 2
    assert len(whole.prior.transformer.layers) == 4
    codes, y = torch.randint(32, (2, 40)), torch.zeros(2, whole.config.label_width, dtype=torch.long)
    y[:, :3] = torch.tensor([64000, 0, 56 * 128])
    (one,), (other,) = (list(layer_states(prior, codes, y, [2])) for prior in (shallow, whole))
    assert torch.equal(one[1], other[1])
    short = next(iter(layer_states(whole, codes[:, :13], y, [2])))[1]
    assert torch.allclose(short, one[1][:, :13], atol=1e-5)


def test_windows_overlap_and_each_token_is_kept_once(tiny: Path) -> None:
    definition, labels = load_definition(tiny), ClipLabels()
    for name, samples in (("plain", 128 * 150 + 7), ("sheetsage", 128 * 150 + 7), ("plain", 128 * 20)):
        total = total_samples(CONVENTIONS[name], labels, samples, definition.top, definition.vqvae)
        windows = plan_windows(CONVENTIONS[name], labels, samples, total, definition.top, definition.vqvae)
        kept = [token for w in windows for token in range(w.start + w.kept, w.end)]
        assert kept == list(range(samples // 128))
        assert total == 32000 // 128 * 128  # the shortest song
        assert all(0 <= w.offset <= total - 56 * 128 for w in windows)
    with pytest.raises(AudioError, match="samples"):
        plan_windows(CONVENTIONS["plain"], labels, 100, 32000, definition.top, definition.vqvae)
    with pytest.raises(AudioError, match="--pad"):
        plan_windows(CONVENTIONS["jukemir"], labels, 128 * 20, 32000, definition.top, definition.vqvae)


def test_a_batch_of_windows_of_several_recordings_changes_nothing(tiny: Path) -> None:
    clips = [noise(0.3, 1), noise(1.7, 2), noise(0.9, 3)]
    alone, together = (
        Extractor(FeatureSettings(tiny, (1, 4), device="cpu", precision="float32", batch_size=size)).features(clips)
        for size in (1, 4)
    )
    for one, other in zip(alone, together, strict=True):
        for layer in (1, 4):
            assert one.layer(layer).shape == (int(one.seconds * 125), 16)
            assert np.allclose(one.layer(layer), other.layer(layer), atol=1e-4)


@pytest.mark.parametrize(("rate", "pool"), [(None, "mean"), (10.0, "none"), (10.0, "max"), (31.0, "mean")])
def test_states_that_come_in_pieces_are_reduced_alike(rate: float | None, pool: str) -> None:
    rows = np.random.default_rng(0).standard_normal((157, 3)).astype(np.float32)
    how = Reduction(125.0, rate, pool)
    edges = [min(how.edge(frame), 157) for frame in range(Reduction(125.0, rate).frames(157) + 1)]
    frames = np.stack([rows[a:b].mean(0) for a, b in pairwise(edges)])
    want = frames if pool == "none" else getattr(frames, pool)(0, keepdims=True)
    reducer, found = Reducer(how), []
    for part in np.split(rows, [5, 6, 90]):
        found.append(reducer.add(part))
    found.append(reducer.end())
    result = np.concatenate([one for one in found if len(one)])
    assert len(result) == how.frames(157)
    assert np.allclose(result, want, atol=1e-5)


def test_short_recordings_are_padded_and_long_ones_cut(tiny: Path) -> None:
    clip = noise(0.3)
    (padded,) = features([clip], model=tiny, layers=4, pad=True, device="cpu")
    (cut,) = features([noise(3)], model=tiny, layers=4, seconds=1, device="cpu")
    assert padded.layer(4).shape == (56, 16)
    assert cut.layer(4).shape == (125, 16)


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"layers": (5,)}, RequestError, "layers must be from 1 to 4"),
        ({"rate": 126.0}, RequestError, "rate must be above 0 and at most 125"),
        ({"pool": "sum"}, RequestError, "pool must be one of"),
        ({"convention": "mine"}, RequestError, "convention must be one of"),
        ({"convention": "jukemir"}, LabelError, "62 seconds is outside"),
        ({"convention": "jukemirlib", "total_seconds": 20.0}, RequestError, "cannot be chosen"),
        ({"dtype": "int8"}, RequestError, "dtype must be one of"),
        ({"batch_size": 0}, RequestError, "batch_size must be at least 1"),
    ],
)
def test_settings_are_refused_in_a_sentence(
    tiny: Path, settings: dict[str, object], error: type[JukeboxKitError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        Extractor(FeatureSettings(tiny, device="cpu", **settings))  # type: ignore[arg-type]  # as the cases have them


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """A folder of recordings, of which three cannot be used."""
    folder = tmp_path / "music"
    (folder / "more").mkdir(parents=True)
    for number in range(3):
        save_audio(noise(0.5 + number, number), folder / "more" / f"{number}.wav", 16000)
    save_audio(np.zeros(16000, np.float32), folder / "silent.wav", 16000)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "corrupt.flac").write_bytes(b"fLaC" + bytes(100))
    (folder / "notes.txt").write_text("not a recording")
    return folder


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "manifest.csv").open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # audioread leaves a file open
def test_a_folder_is_computed_once(tiny: Path, music: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "out", FeatureSettings(tiny, (2, 4), dtype="float16", device="cpu")
    said: list[str] = []
    done = extract(music, out, settings, codes=True, say=said.append)
    assert (done.computed, done.skipped, done.failed) == (3, 0, 3)
    rows = rows_of(out)
    assert [rows[name]["status"] for name in ("silent.wav", "empty.wav", "corrupt.flac")] == ["failed"] * 3
    assert "silent" in rows["silent.wav"]["note"]
    assert len(said) == 3
    values = np.load(out / "more/1.wav.npy")
    assert values.dtype == np.float16
    assert values.shape == (2, int(rows["more/1.wav"]["frames"]), 16)
    (same,) = features([music / "more/1.wav"], model=tiny, layers=2, device="cpu")
    assert np.array_equal(values[0], same.layer(2).astype(np.float16))
    with safe_open(out / "more/1.wav.codes.safetensors", "numpy") as file:
        assert file.get_tensor("level_2").shape == (187,)
        assert file.get_tensor("level_0").shape == (187 * 16,)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    again = extract(music, out, settings, codes=True, say=said.append)
    assert (again.computed, again.skipped, again.failed) == (0, 3, 3)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    with pytest.raises(RequestError, match="layers"):
        extract(music, out, replace(settings, layers=3))


def test_an_interrupted_folder_is_resumed(
    tiny: Path, music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, settings = tmp_path / "out", FeatureSettings(tiny, 4, pool="mean", device="cpu")
    whole = tmp_path / "whole"
    extract(music / "more", whole, settings)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(folders, "publish", killed)  # after the row, before the file has its name
        with pytest.raises(KeyboardInterrupt):
            extract(music / "more", out, settings)
    assert part_of(out / "0.wav.npy").is_file()
    with (out / "manifest.csv").open("ab") as file:
        file.write(b"1.wav,48")  # a row that was cut short
    done = extract(music / "more", out, settings)
    assert (done.computed, done.skipped, done.failed) == (2, 1, 0)
    for name in ("0.wav", "1.wav", "2.wav"):
        assert (out / f"{name}.npy").read_bytes() == (whole / f"{name}.npy").read_bytes()


def test_safetensors_say_what_they_are(tiny: Path, music: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract(music / "more" / "0.wav", out, FeatureSettings(tiny, (1, 3), rate=10, device="cpu"), "safetensors")
    with safe_open(out / "0.wav.safetensors", "numpy") as file:
        facts = {name: json.loads(value) for name, value in file.metadata().items()}
        assert file.get_tensor("layer_3").shape == (5, 16)
    assert facts["layers"] == [1, 3]
    assert facts["weights"].keys() == {"vqvae", "level_2"}
    assert facts["convention"] == "plain"
    assert facts["made_with"]["torch"] == torch.__version__

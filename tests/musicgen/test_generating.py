"""Generating recordings: all modes, items, long ones, stops, memory, and what is written beside them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import jukebox_kit as jk
from jukebox_kit.errors import AudioError, CheckpointError, JukeboxKitError, RequestError, StoppedError
from jukebox_kit.song.audio import save_audio
from jukebox_kit.sources import SourceRequest, SourceRun, generate_recordings
from jukebox_kit.sources.musicgen import memory, open_musicgen
from jukebox_kit.sources.musicgen.musicgen import MusicGen
from tests.musicgen.conftest import HOP, SR, facts_of, samples_of

pytestmark = pytest.mark.musicgen

CPU = SourceRun(device="cpu")

TEXT = "slow jazz piano"


def opened(run: SourceRun = CPU, **fields: Any) -> MusicGen:
    return open_musicgen(SourceRequest(**{"seconds": 1.0, **fields}), run)


def audio_of(source: MusicGen) -> list[NDArray[np.float32]]:
    return [np.asarray(recording.audio) for recording in source.recordings()]


def kept_codes(source: MusicGen, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Return a list that gets the codes that are decoded from now on."""
    kept: list[torch.Tensor] = []
    decode = source.codec.decode

    def keep(codes: torch.Tensor, scales: list[torch.Tensor | None]) -> NDArray[np.float32]:
        kept.append(codes)
        return decode(codes, scales)

    monkeypatch.setattr(source.codec, "decode", keep)
    return kept


@pytest.mark.parametrize("text", [(), TEXT])
@pytest.mark.parametrize("prompted", [False, True])
@pytest.mark.parametrize("how", [{}, {"greedy": True}, {"guidance": 1.0, "top_p": 0.9}])
def test_each_mode_is_written_with_what_it_was_made_of(
    mono: Path, riff: Path, tmp_path: Path, text: Any, prompted: bool, how: dict[str, Any]
) -> None:
    audio: dict[str, Any] = {"audio": riff, "audio_seconds": 0.5} if prompted else {}
    request = SourceRequest(text, 1.0, seed=3, model=mono, **audio, **how)
    first, second = (generate_recordings(tmp_path / name, request, run=CPU)[0] for name in ("a.wav", "b.flac"))
    facts = facts_of(first)
    assert {**facts, "sha256": 0} == {**facts_of(second), "sha256": 0}  # the same but for the format
    assert len(samples_of(first)) == SR
    np.testing.assert_allclose(samples_of(first), samples_of(second), atol=2**-15)
    assert facts["text"] == (text or None)
    assert facts["seed"] == 3
    assert facts["guidance"] == how.get("guidance", 3.0 if text else 1.0)
    assert ("temperature" in facts) == (not facts["greedy"]) == ("greedy" not in how)
    assert (facts["audio"] or {}).get("seconds") == (0.5 if prompted else None)
    assert facts["weights_sha256"] == {
        "model.safetensors": hashlib.sha256((mono / "model.safetensors").read_bytes()).hexdigest()
    }
    assert facts["sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()
    assert "CC-BY-NC" in facts["licence"]
    assert facts["versions"]["transformers"].startswith("5.")
    assert facts["complete"] is True


def test_the_tokens_of_the_recording_come_first(mono: Path, riff: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import EncodecModel

    source = opened(text=TEXT, audio=riff, audio_seconds=0.6, model=mono)
    kept = kept_codes(source, monkeypatch)
    audio_of(source)
    codec = source.model.audio_encoder
    assert isinstance(codec, EncodecModel)
    heard = torch.from_numpy(samples_of(riff)[: int(0.6 * SR)].mean(1))[None, None]
    with torch.no_grad():
        codes = codec.encode(heard).audio_codes[0, 0]
    assert kept[0].shape == (4, 50)
    assert torch.equal(kept[0][:, :30], codes)
    assert len(codes.unique()) > 1


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_recording_does_not_depend_on_how_many_there_are(mono: Path, batch_size: int) -> None:
    run = SourceRun(device="cpu", batch_size=batch_size)
    together = audio_of(opened(run, text=(TEXT, "fast rock drums"), items=3, seed=5, model=mono))
    assert len(together) == 6
    assert len({audio.tobytes() for audio in together}) == 6
    for number, text, seed in ((0, TEXT, 5), (2, TEXT, 7), (4, "fast rock drums", 6)):
        (alone,) = audio_of(opened(text=text, seed=seed, model=mono))
        np.testing.assert_array_equal(alone, together[number])


def test_several_are_numbered_and_stereo_stays_stereo(stereo: Path, riff: Path, tmp_path: Path) -> None:
    saved: list[Path] = []
    run = SourceRun(device="cpu", saved=saved.append)
    request = SourceRequest(("jazz", "rock"), 1.0, riff, 0.5, items=2, model=stereo)
    paths = generate_recordings(tmp_path / "new" / "x.wav", request, run=run)
    assert [path.name for path in paths] == ["x_0.wav", "x_1.wav", "x_2.wav", "x_3.wav"]
    assert list(paths) == saved
    facts = [facts_of(path) for path in paths]
    assert [(one["text"], one["seed"]) for one in facts] == [("jazz", 0), ("jazz", 1), ("rock", 0), ("rock", 1)]
    audio = samples_of(paths[0])
    assert audio.shape == (SR, 2)
    assert facts[0]["channels"] == 2
    assert np.abs(audio[:, 0] - audio[:, 1]).max() > 0.01


def levels(audio: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Return the level of each stretch of `step` samples in dB."""
    power = (audio[: len(audio) // step * step].reshape(-1, step) ** 2).mean(1)
    return np.asarray(10 * np.log10(power))


def test_a_minute_is_continued_without_a_jump_in_level(mono: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(text=TEXT, seconds=75.0, model=mono)
    kept = kept_codes(source, monkeypatch)
    (audio,) = audio_of(source)
    assert len(audio) == 75 * SR
    step = SR // 2
    jumps = np.abs(np.diff(levels(audio, step)))
    joints = [30, 50, 60, 70]  # of windows, 20 seconds apart after the first, and of decoded pieces
    at = [second * SR // step - 1 for second in joints]
    elsewhere = np.delete(jumps, at)
    assert max(jumps[at]) < elsewhere.max()
    slopes = np.abs(np.diff(audio))
    for second in joints:  # no click either
        assert slopes[second * SR - HOP : second * SR + HOP].max() < slopes.max()
    with torch.no_grad():
        whole = source.model.audio_encoder.decode(kept[0][None, None], [None]).audio_values[0, 0].numpy()
    np.testing.assert_allclose(audio, whole, atol=2e-3)


def test_a_continuation_reads_its_context(mono: Path) -> None:
    source = opened(text=TEXT, seconds=31.0, greedy=True, model=mono)
    track = source._track(0)
    source.sampler.extend([track], 1550, lambda _: False)
    assert track.frames == 1500
    before = track.codes.clone()
    source.sampler.extend([track], 1550, lambda _: False)
    assert torch.equal(track.codes[:, :1500], before)
    changed = source._track(0)
    changed.codes = torch.cat([before[:, :1400], (before[:, 1400:] + 1) % 32], 1)
    source.sampler.extend([changed], 1550, lambda _: False)
    assert not torch.equal(track.codes[:, 1500:], changed.codes[:, 1500:])


def stop_after(tokens: int) -> dict[str, Any]:
    """Return callbacks that stop once that many tokens are done."""
    done = [0]
    return {"progress": lambda now, _: done.__setitem__(0, now), "stop": lambda: done[0] >= tokens}


def test_stop_saves_what_there_is(mono: Path, tmp_path: Path) -> None:
    request = SourceRequest(TEXT, 2.0, items=2, model=mono)
    whole = samples_of(generate_recordings(tmp_path / "whole.wav", request, run=CPU)[1])
    saved: list[Path] = []
    run = SourceRun(device="cpu", saved=saved.append, **stop_after(140))
    with pytest.raises(StoppedError, match="is saved"):
        generate_recordings(tmp_path / "part.wav", request, run=run)
    assert [path.name for path in saved] == ["part_0.wav", "part_1.wav"]
    assert [facts_of(path)["complete"] for path in saved] == [True, False]
    part = samples_of(saved[1])
    assert len(part) == 40 * HOP
    np.testing.assert_allclose(part[: 30 * HOP], whole[: 30 * HOP], atol=1e-3)  # the codec hears a little ahead


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_ctrl_c_saves_and_a_fault_is_not_hidden(mono: Path, tmp_path: Path, error: type[BaseException]) -> None:
    def progress(done: int, total: int) -> None:
        assert total == 100
        if done >= 50:
            raise error

    request = SourceRequest(TEXT, 2.0, model=mono)
    with pytest.raises(error):
        generate_recordings(tmp_path / "part.wav", request, run=SourceRun(device="cpu", progress=progress))
    assert (tmp_path / "part.wav").exists() == (error is KeyboardInterrupt)


def test_out_of_memory_halves_the_items_and_changes_nothing(mono: Path) -> None:
    fields: dict[str, Any] = {"text": TEXT, "items": 4, "seconds": 2.0, "model": mono, "top_k": 8}
    plain = opened(**fields)
    plain.sampler.window, plain.sampler.context = 80, 30
    expected = audio_of(plain)
    failed: list[int] = []

    def progress(done: int, total: int) -> None:
        if done > total * 0.9 and not failed:  # in the second window of the batch of four
            failed.append(done)
            raise torch.OutOfMemoryError("injected")

    source = opened(SourceRun(device="cpu", batch_size=4, progress=progress), **fields)
    source.sampler.window, source.sampler.context = 80, 30
    sizes: list[int] = []
    extend = source.sampler.extend
    source.sampler.extend = lambda tracks, *rest: (sizes.append(len(tracks)), extend(tracks, *rest))[1]  # type: ignore
    for one, other in zip(audio_of(source), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert failed
    assert sizes == [4, 4, 2, 2]


def test_memory_that_is_short_is_said_and_planned_with(mono: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(done: int, total: int) -> None:
        raise torch.OutOfMemoryError("injected")

    with pytest.raises(RequestError, match=r"not enough memory to generate even one recording; free some"):
        audio_of(opened(SourceRun(device="cpu", progress=full), model=mono))
    run = SourceRun(device="cpu", batch_size=8)
    assert opened(run, text=TEXT, model=mono).batch == 8
    config = opened(model=mono).model.config
    fixed = memory.weights_bytes(config, torch.float32) + memory.codec_bytes(config)
    item = memory.item_bytes(config, torch.float32, 1500, guided=True)
    monkeypatch.setattr(memory, "free_memory", lambda _: (fixed + 3.5 * item) / memory.SPARE)
    assert opened(run, text=TEXT, model=mono).batch == 3
    monkeypatch.setattr(memory, "free_memory", lambda _: fixed)
    with pytest.raises(RequestError, match=r"needs 0.0 GB of memory, and 0.0 GB are free; free some, or choose a"):
        opened(text=TEXT, model=mono)


def test_the_planned_weights_are_those_that_are_loaded(mono: Path) -> None:
    model = opened(model=mono).model
    held = sum(tensor.nbytes for tensor in [*model.parameters(), *model.audio_encoder.buffers()])
    assert memory.weights_bytes(model.config, torch.float32) == pytest.approx(held, rel=0.02)


def without(folder: Path, name: str, tmp_path: Path) -> Path:
    """Return a copy of a model's folder without one of its files."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        if file.name != name:
            (copy / file.name).write_bytes(file.read_bytes())
    return copy


def test_models_that_cannot_be_used(mono: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file, save_file

    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "file").write_text("x")
    weights = load_file(mono / "model.safetensors")
    lacking = without(mono, "model.safetensors", tmp_path)
    cases = {
        "models/mine": "there is no folder models/mine; choose the folder of a model, or a released one: facebook",
        "mine": "there is no folder mine; ",
        "./mine/deep": "there is no folder ./mine/deep; ",
        "models": "models has no config.json; choose a folder that transformers saved a model in",
        "file": "file is a file; choose the folder",
        "copy": "copy could not be loaded ",
    }
    for model, sentence in cases.items():
        with pytest.raises(CheckpointError, match=sentence):
            opened(model=model)
    save_file(dict(list(weights.items())[3:]), lacking / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack 3 weights, such as"):
        opened(model="copy")
    (lacking / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"could not be loaded .*; download or save the model again\.$"):
        opened(model="copy")
    (lacking / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(CheckpointError, match="of the type t5, not MusicGen"):
        opened(model="copy")


def test_recordings_that_cannot_be_continued(mono: Path, riff: Path, tmp_path: Path) -> None:
    silent = tmp_path / "silent.wav"
    save_audio(np.zeros(SR, np.float32), silent, SR)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"audio": tmp_path / "none.wav"}, "there is no recording"),
        ({"audio": riff}, "riff.wav is 2.0 seconds long, and less than 1 can be continued to 1; set audio-seconds"),
        ({"audio": silent, "audio_seconds": 0.5}, "cut them off, or use more of the recording with audio-seconds"),
    ]
    for fields, sentence in cases:
        with pytest.raises(AudioError, match=sentence) as error:
            opened(model=mono, **fields)
        assert error.value.field == "audio"


def test_the_front_door_of_python(mono: Path, tmp_path: Path) -> None:
    (path,) = jk.generate_recordings(
        tmp_path / "a.wav", jk.SourceRequest("jazz", 1, model=mono), run=jk.SourceRun(device="cpu")
    )
    song = jk.Song.create(tmp_path / "song", seconds=1, prompt=path, prompt_seconds=0.5)
    assert song.root.is_dir()
    with pytest.raises(JukeboxKitError, match="float16 needs a GPU"):
        jk.generate_recordings(path, jk.SourceRequest(model=mono), run=jk.SourceRun(device="cpu", precision="float16"))
    assert json.loads((tmp_path / "a.wav.json").read_text())["text"] == "jazz"

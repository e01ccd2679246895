"""One song in chunks: where they lie, that any stop leads to the same codes, how they sound where they meet, edits."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import jukebox_kit as jk
from jukebox_kit.cli.options import numbers
from jukebox_kit.engine.model import Model
from jukebox_kit.engine.placement import Placement
from jukebox_kit.engine.timing import Pace
from jukebox_kit.engine.windows import UNSAMPLED, LevelPlan, window_starts
from jukebox_kit.errors import RequestError, SongError, StoppedError
from jukebox_kit.jobs.queue import song_statuses
from jukebox_kit.model.configuration import PriorConfig
from jukebox_kit.song import edits
from jukebox_kit.song.chunks import ChunkLayout, both_sides, lay_chunks, layout_of
from jukebox_kit.song.codes import Join, LevelCodes, pack_codes, unpack_codes
from jukebox_kit.song.page.page import page_of
from jukebox_kit.song.reproduce import shell_command
from jukebox_kit.song.song import Song
from jukebox_kit.steps.estimates import estimate, read_positions
from tests.conftest import shell

REQUEST: dict[str, Any] = {"artist": "The Beatles", "genre": "pop", "lyrics": "la la la", "seconds": 0.4, "seed": 3}
TOTAL = 50 * 4  # tokens of level 1, of which a chunk has 72


@pytest.fixture(scope="module", autouse=True)
def no_pictures() -> Iterator[None]:
    """Leave pictures out: they take longer than these songs, and are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("strip_png", "spectrogram_png"):
            patch.setattr(f"jukebox_kit.song.render.{name}", lambda *_: b"")
        yield


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    return Model.load(tiny, "cpu")


@pytest.fixture(scope="module")
def base(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Song:
    """A song of two items of which level 2 is made."""
    folder = tmp_path_factory.mktemp("songs") / "base"
    return jk.level_2(Song.create(folder, model, model=model.source, items=2, **REQUEST), model)


@pytest.fixture(scope="module")
def whole(base: Song, model: Model) -> Song:
    """The song with level 1 in one chunk."""
    return jk.upsample(copy(base, "whole"), until=1, model=model)


@pytest.fixture(scope="module")
def pieced(base: Song, model: Model) -> Song:
    """The song with levels 1 and 0 in three chunks, never stopped."""
    return jk.upsample(copy(base, "pieced"), model=model, chunks=3)


def copy(song: Song, name: str | Path) -> Song:
    folder = song.root.with_name(name) if isinstance(name, str) else name
    shutil.copytree(song.root, folder)
    return Song.open(folder)


def same(a: LevelCodes, b: LevelCodes) -> bool:
    """Return whether two levels hold the same, hidden tokens too."""
    if a.others is None or b.others is None:
        return a.others is b.others and np.array_equal(a.codes, b.codes)
    return (a.joins, a.given) == (b.joins, b.given) and all(
        np.array_equal(x, y) for x, y in ((a.codes, b.codes), (a.others, b.others))
    )


@st.composite
def plans(draw: st.DrawFn) -> LevelPlan:
    n_ctx, rate = draw(st.sampled_from([16, 64, 100])), draw(st.sampled_from([1, 4]))
    total = draw(st.integers(1, 300)) * rate
    hop = draw(st.integers(1, n_ctx))
    return LevelPlan(1, total, n_ctx, tuple(window_starts(total, n_ctx, hop)), rate)


@settings(max_examples=200, deadline=None)
@given(plan=plans(), chunks=st.integers(1, 12), share=st.floats(0, 1))
def test_pieces_cover_every_token_once_and_overlap_with_their_neighbours(
    plan: LevelPlan, chunks: int, share: float
) -> None:
    given_ = int(share * plan.total)
    layout = lay_chunks(plan, chunks, given_)
    shown = [token for first, last in layout.played for token in range(first, last)]
    assert shown == list(range(layout.starts[0], plan.total))
    assert 1 <= len(layout.starts) <= chunks
    if len(layout.starts) == 1:
        assert layout.plan(plan) == plan
        return
    assert layout.length >= plan.n_ctx
    assert all(start % plan.rate == 0 for start in layout.starts)
    assert 0 <= given_ - layout.starts[0] <= plan.n_ctx // 2 + plan.rate
    least = -(-(plan.n_ctx // 8 + plan.n_ctx // 16) // plan.rate) * plan.rate
    assert all(join.end - join.cut == plan.n_ctx // 16 <= join.cut - join.fade_begin for join in layout.joins)
    assert all(least <= join.end - join.begin <= least + 3 * plan.rate for join in layout.joins)
    assert all(join.begin >= given_ for join in layout.joins), "what was given is joined to nothing"
    more = len(layout.starts) + 1
    if more <= chunks:  # not one more would be as long as a window
        assert (plan.total - layout.starts[0] + (more - 1) * least) / more < plan.n_ctx
    windows = layout.plan(plan)
    assert windows.total == layout.length
    assert windows.starts[1:2] in ((plan.starts[1],), (layout.length - plan.n_ctx,), ())


@settings(max_examples=50, deadline=None)
@given(plan=plans(), chunks=st.integers(1, 8), counts=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_what_pieces_hold_goes_into_the_level_and_comes_back(plan: LevelPlan, chunks: int, counts: list[float]) -> None:
    fresh = LevelCodes.whole(np.arange(2 * plan.total, dtype=np.int16).reshape(2, -1))
    level = fresh.resized(plan.total, (int(counts[0] * plan.total), int(counts[1] * plan.total)))
    layout = layout_of(plan, level, chunks)
    rows = layout.rows(level)
    for row, count in zip(rows, layout.given(level), strict=True):
        assert (row[:count] != UNSAMPLED).all()
        assert (row[count:] == UNSAMPLED).all()
    made = np.where(rows == UNSAMPLED, np.arange(rows.size, dtype=np.int16).reshape(rows.shape), rows)
    found = unpack_codes(pack_codes(layout.level(level, made)), "codes")
    assert np.array_equal(layout.rows(found), made)
    assert min(found.made) == plan.total
    if len(layout.starts) > 1:
        assert layout_of(plan, found, 1) == layout, "a level that is begun says how"


def test_a_layout_and_a_join_that_cannot_be_are_refused() -> None:
    for starts, length in (((), 5), ((0, 6), 5), ((0, 2, 4), 6), ((0,), 4)):
        with pytest.raises(ValueError, match="chunks must overlap"):
            ChunkLayout(starts, length, 10)
    with pytest.raises(ValueError, match="cut inside"):
        Join(3, 4, 6)
    with pytest.raises(ValueError, match="joins must lie"):
        LevelCodes(np.zeros((1, 9), np.int16), (0,), (Join(3, 4, 5),))


def test_each_piece_is_a_song_of_its_own_there(pieced: Song, whole: Song, model: Model) -> None:
    """Each is what it is when it is made alone, by the plain decoder; the first one begins as the whole level does."""
    plan, found = pieced.resolved.plans[1], pieced.level(1)
    assert np.array_equal(found.codes[:, : plan.n_ctx], whole.codes(1)[:, : plan.n_ctx])
    assert not np.array_equal(found.codes, whole.codes(1))
    other = copy(whole, "alone")
    other.write_level(1, LevelCodes.blank(2, plan.total))
    jk.upsample(
        other,
        until=1,
        model=Model.load(model.source, "cpu", engine="plain"),
        run=jk.RunSettings(batch_size=1),
        chunks=3,
    )
    assert same(other.level(1), found)
    assert len(found.joins) == 2


def test_a_song_in_one_piece_is_as_it_always_was(whole: Song, base: Song, model: Model) -> None:
    song = jk.upsample(copy(base, "one"), until=1, model=model, chunks=1)
    assert same(song.level(1), whole.level(1))
    assert song.level(1).joins == ()
    audio = (soundfile.read(one.root / "level_1/item_1.wav")[0] for one in (song, whole))
    assert np.array_equal(*audio)
    assert [event.kind for event in song.manifest.history] == ["created"]
    assert b"joins" not in (song.root / "level_1/codes.safetensors").read_bytes()


def stopped(song: Song, model: Model, tokens: int, level: int = 1, batch: int = 16) -> Song:
    """Stop a song in chunks once so many tokens are made of each row, and one."""
    asked = iter(range(tokens))
    options = jk.RunSettings(batch_size=batch, stop=lambda: next(asked, None) is None)
    with pytest.raises(StoppedError):
        jk.upsample(song, until=level, model=model, run=options, chunks=3)
    return Song.open(song.root)


@pytest.mark.parametrize(("tokens", "batch"), [(0, 16), (3, 16), (63, 16), (70, 16), (90, 2), (100, 4), (80, 5)])
def test_a_stop_anywhere_leads_to_the_same_song(
    base: Song, pieced: Song, model: Model, tmp_path: Path, tokens: int, batch: int
) -> None:
    song = stopped(copy(base, tmp_path / "song"), model, tokens, batch=batch)
    found = song.level(1)
    assert 0 < sum(found.done) < 2 * TOTAL
    assert found.sampled
    song = jk.sample(song, 1, model)
    assert same(song.level(1), pieced.level(1))
    assert not any(event.kind == "replay_mismatch" for event in song.manifest.history)
    assert song.level(1).made == (TOTAL, TOTAL)


def test_a_stop_leads_to_the_same_song_on_a_mount(
    base: Song, pieced: Song, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUKEBOX_KIT_STORE", "segments")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    song = Song.create(tmp_path / "song", model, model=model.source, items=2, chunks=3, **REQUEST)
    jk.level_2(song, model)
    stopped(song, model, 60)
    shutil.rmtree(tmp_path / "state")  # another machine
    song = jk.level_1(Song.open(song.root), model)
    assert same(song.level(1), pieced.level(1))


def test_kill_9_in_the_middle_of_chunks(
    base: Song, pieced: Song, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is killed with SIGKILL, and run again to resume."""
    song = copy(base, tmp_path / "song")
    words = ["upsample", str(song.root), "--chunks", "3", "--until", "level_1", "--save-every", "0"]
    command = [sys.executable, "-m", "jukebox_kit", *words]
    slow = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=slow, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (song.root / "level_1/codes.safetensors").exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    song = Song.open(song.root)
    assert 0 < song.status()[1].done < song.status()[1].total
    assert song.request.chunks == (3, 3)
    assert shell(monkeypatch, "resume", song.root, "--until", "level_1") == 0
    assert same(song.level(1), pieced.level(1))


def test_status_and_progress_tell_what_is_made(
    base: Song, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jukebox_kit.steps.level_writer.REPORTS_PER_SECOND", 1e9)
    song, seen = copy(base, tmp_path / "song"), list[jk.Progress]()
    options = jk.RunSettings(progress=seen.append, stop=lambda: len(seen) == 60)
    with pytest.raises(StoppedError):
        jk.upsample(song, until=1, model=model, run=options, chunks=3)
    status = Song.open(song.root).status()[1]
    assert seen[-1] == jk.Progress(1, status.done - 6, status.total), "the last token was not reported any more"
    found = song.level(1)
    assert found.made == (61, 61)
    assert sum(found.done) == status.done > 2.5 * 61 * 2
    state = page_of(song.state).state[1]
    assert state.share == status.done / status.total
    assert song_statuses(tmp_path)[0].left[1] == status.total - status.done
    jk.upsample(song, until=1, model=model, run=jk.RunSettings(progress=seen.append))
    after = [p.done for p in seen[60:]]
    assert after == sorted(after)
    assert after[-1] == status.total == 2 * TOTAL


def test_what_can_be_heard_while_pieces_grow_is_the_first_of_them(
    base: Song, pieced: Song, model: Model, tmp_path: Path
) -> None:
    song = stopped(copy(base, tmp_path / "song"), model, 59)
    made = pieced.codes(1)[:1, :60].astype(np.int64)
    assert np.array_equal(song.audio(1, 0, model), model.vqvae.decode(torch.from_numpy(made), 1)[0, :, 0].numpy())


@pytest.mark.parametrize("level", [0, 1])
def test_audio_is_faded_where_pieces_meet_and_nowhere_else(pieced: Song, model: Model, level: int) -> None:
    found, hop = pieced.level(level), pieced.definition.vqvae.hops[level]
    assert found.others is not None

    def decoded(codes: Any) -> Any:
        return model.vqvae.decode(torch.from_numpy(codes.astype(np.int64))[None], level)[0, :, 0].numpy()

    audio, plain = pieced.audio(level, 1, model), decoded(found.codes[1])
    inside = np.zeros(len(audio), bool)
    for join in found.joins:
        samples = slice(join.fade_begin * hop, join.end * hop)
        inside[samples] = True
        first, second = found.codes[1].copy(), found.codes[1].copy()
        first[join.cut : join.end] = found.others[1, join.cut : join.end]
        second[join.begin : join.cut] = found.others[1, join.begin : join.cut]
        sides = [decoded(codes)[samples] for codes in (first, second)]
        for whole_side, side in zip(sides, both_sides(model.vqvae, level, found, 1, join), strict=True):
            assert np.allclose(whole_side, side, atol=1e-5)
        low, high = np.minimum(*sides) - 1e-5, np.maximum(*sides) + 1e-5
        assert ((low <= audio[samples]) & (audio[samples] <= high)).all()
        assert abs(audio[samples][0] - sides[0][0]) < abs(audio[samples][0] - sides[1][0]) + 1e-5
        assert abs(audio[samples][-1] - sides[1][-1]) < abs(audio[samples][-1] - sides[0][-1]) + 1e-5
    assert np.array_equal(audio[~inside], plain[~inside])
    assert not np.array_equal(audio[inside], plain[inside])


def test_pieces_do_not_change_in_the_middle_of_a_level(base: Song, model: Model, tmp_path: Path) -> None:
    song = stopped(copy(base, tmp_path / "song"), model, 20)
    before = song.level(1)
    with pytest.raises(SongError, match=r"level 1 of .* was started with chunks 3, not 2"):
        jk.upsample(song, model=model, chunks=2)
    with pytest.raises(SongError, match=r"contains a song with chunks"):
        Song.create(song.root, model, model=model.source, items=2, chunks=4, **REQUEST)
    assert same(song.level(1), before)
    assert song.request.chunks == (3, 3)


def test_a_whole_level_keeps_its_number_of_chunks(whole: Song, model: Model, tmp_path: Path) -> None:
    song = jk.upsample(copy(whole, tmp_path / "song"), (0,), model=model, chunks=3)
    assert song.request.chunks == (3, 1)
    assert same(song.level(1), whole.level(1))
    found = song.level(0)
    assert len(found.joins) == 2
    assert found.done == (4 * TOTAL, 0)
    assert "--chunks 3,1 " in shell_command(song.request, "again")
    with pytest.raises(SongError, match=r"level 0 of .* was started"):
        jk.upsample(song, model=model, chunks=2)
    jk.upsample(song, model=model)
    assert np.array_equal(song.codes(0)[0], found.codes[0])
    assert song.level(0).made == (4 * TOTAL,) * 2


@pytest.mark.parametrize("chunks", [0, 65, (1, 0)])
def test_numbers_of_pieces_that_cannot_be(base: Song, model: Model, tmp_path: Path, chunks: Any) -> None:
    with pytest.raises(RequestError, match="chunks must be from 1 to 64"):
        Song.create(tmp_path / "song", model, model=model.source, chunks=chunks, **REQUEST)
    with pytest.raises(RequestError, match="chunks must be from 1 to 64"):
        jk.upsample(base, model=model, chunks=chunks)
    assert not (tmp_path / "song").exists()


def test_a_level_too_short_for_so_many_pieces_is_made_in_fewer(base: Song, model: Model, tmp_path: Path) -> None:
    fields = {**REQUEST, "seconds": 0.2}
    song = Song.create(tmp_path / "short", model, model=model.source, chunks=4, **fields)
    assert song.resolved.notes == ("level 1 is sampled in 1 chunk, not 4: each is at least one window, 0.13 seconds.",)
    jk.sample(song, 1, model)
    one = jk.sample(Song.create(tmp_path / "one", model, model=model.source, **fields), 1, model)
    assert same(song.level(1), one.level(1))
    with pytest.raises(RequestError, match="one whole number, or two"):
        numbers("chunks", "many")


def test_extending_keeps_the_joins_and_goes_on_in_chunks(pieced: Song, model: Model, tmp_path: Path) -> None:
    song = copy(pieced, tmp_path / "song")
    before, audio = song.level(1), song.audio(1, 0, model)
    edits.extend(song, 0.4, model)
    assert song.level(1).joins == before.joins
    jk.level_2(song, model)
    fresh = copy(song, tmp_path / "fresh")
    halfway = stopped(song, model, 45)
    assert np.array_equal(halfway.codes(1)[:, :TOTAL], before.codes)
    assert halfway.status()[1].done > 2 * (TOTAL + 45)
    for other in (halfway, fresh):
        jk.level_1(other, model)
        assert not any(event.kind == "replay_mismatch" for event in other.manifest.history)
    found = fresh.level(1)
    assert same(found, halfway.level(1))
    assert np.array_equal(found.codes[:, :TOTAL], before.codes)
    assert min(found.made) == 2 * TOTAL
    assert found.joins[:2] == before.joins
    assert len(found.joins) == 4
    assert found.joins[2].begin >= TOTAL
    longer, margin = fresh.audio(1, 0, model), 15 * 32
    assert np.allclose(longer[: len(audio) - margin], audio[:-margin], atol=1e-5), "joins are heard as before"


def test_a_trim_keeps_the_joins_that_are_whole(pieced: Song, model: Model, tmp_path: Path) -> None:
    song = copy(pieced, tmp_path / "song")
    before = song.level(1)
    edits.trim(song, (before.joins[1].cut + 1) * 32 / 16000, model)
    found = song.level(1)
    assert found.joins == before.joins[:1]
    assert np.array_equal(found.codes, before.codes[:, : found.codes.shape[1]])
    jk.sample(song, 1, model)
    edits.undo(song)
    assert same(song.level(1), before)


def test_a_fork_sounds_as_the_song_where_both_are_alike(pieced: Song, model: Model, tmp_path: Path) -> None:
    other = edits.fork(pieced, tmp_path / "fork", 0.32, model)
    assert other.level(1).joins == pieced.level(1).joins
    assert other.request.chunks == (3, 3)
    ours, theirs = (song.audio(1, 0, model)[:4600] for song in (other, pieced))
    assert np.allclose(ours, theirs, atol=1e-5)
    jk.sample(other, 1, model)
    assert min(other.level(1).made) == TOTAL


def test_edits_in_the_middle_of_pieces_lose_nothing(base: Song, pieced: Song, model: Model, tmp_path: Path) -> None:
    song = stopped(copy(base, tmp_path / "song"), model, 60)
    before = song.level(1)
    for edit in range(3):
        if edit == 0:
            edits.choose(song, 1)
        elif edit == 1:
            edits.vary(song)
        else:
            edits.trim(song, 0.35, model)
        found = song.level(1)
        assert found.joins == ()
        assert found.done == found.given == found.made
        edits.undo(song)
        assert same(song.level(1), before)
    assert same(jk.level_1(song, model).level(1), pieced.level(1))


def test_a_choice_keeps_the_joins_of_what_is_whole(pieced: Song, tmp_path: Path) -> None:
    song = copy(pieced, tmp_path / "song")
    before = song.level(0)
    edits.choose(song, 1)
    found = song.level(0)
    assert (found.joins, found.given) == (before.joins, (4 * TOTAL,) * 2)
    assert found.others is not None
    assert before.others is not None
    for row in range(2):
        assert np.array_equal(found.codes[row], before.codes[1])
        assert np.array_equal(found.others[row], before.others[1])


def test_hidden_tokens_that_are_damaged_are_told(pieced: Song) -> None:
    content = bytearray((pieced.root / "level_1/codes.safetensors").read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    assert b"others" in content[:header]
    for place in (header + 3, len(content) - 3):
        damaged = bytearray(content)
        damaged[place] ^= 1
        with pytest.raises(SongError, match="damaged"):
            unpack_codes(bytes(damaged), "codes")


def test_estimates_count_the_steps_of_chunks(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def pace(config: PriorConfig, _vqvae: object, items: int, *_: object) -> Pace:
        asked.append(items)
        return Pace(0.01, 0.001)

    monkeypatch.setattr("jukebox_kit.steps.estimates.measure_pace", pace)
    monkeypatch.setattr("jukebox_kit.steps.estimates.measure_decoding", lambda *_: 0.0)
    monkeypatch.setattr("jukebox_kit.steps.memory_plan.free_memory", lambda _: 2**40)
    found = estimate(model.definition, 4, 2, Placement(torch.device("cpu")), batch=4, chunks=(3, 1))
    _, upper, lower = found.levels
    assert [level.batch for level in found.levels] == [2, 2, 4]
    plan = LevelPlan(0, 8000, 64, tuple(window_starts(8000, 64, 32)), 4)
    layout = lay_chunks(plan, 3)
    once = layout.length * 0.01 + read_positions(layout.plan(plan), 0) * 0.001
    assert lower.seconds == pytest.approx(2 * once), "six chunks, four at once"
    assert (lower.tokens, upper.tokens) == (16000, 4000)


def test_the_shell_takes_chunks(
    base: Song, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    song = copy(base, tmp_path / "song")
    assert shell(monkeypatch, "upsample", song.root, "--chunks", "3,2", "--until", "level_1") == 0
    assert Song.open(song.root).request == replace(base.request, chunks=(3, 2))
    assert len(song.level(1).joins) == 1
    capsys.readouterr()
    assert shell(monkeypatch, "upsample", song.root, "--chunks", "0") == 1
    assert (
        capsys.readouterr().err == "jukebox-kit: --chunks must be from 1 to 64, one number or two for levels 0 and 1.\n"
    )

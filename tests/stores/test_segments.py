"""A mount that drops, truncates, duplicates, reorders, delays and resurrects files: what is read was once true."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukebox_kit.errors import SongError
from jukebox_kit.song.store.drive import DriveStore
from jukebox_kit.song.store.segments import Change, Segment, longest_chain, replayed

TOKENS = 24


@dataclass
class Adversary:
    """A mount: `create` takes every file; what others see of it is what `show` chooses, file by file."""

    taken: list[bytes] = field(default_factory=list[bytes])
    shown: list[bytes] = field(default_factory=list[bytes])

    def contents(self) -> Iterator[bytes]:
        return iter(list(self.shown))

    def create(self, name: str, content: bytes) -> None:
        self.taken.append(content)
        self.shown.append(content)

    def show(self, plan: list[tuple[str, int, int]]) -> None:
        """Do to what is shown what a plan of (deed, which file, how much) says."""
        for deed, which, amount in plan:
            if not self.taken:
                return
            content = self.taken[which % len(self.taken)]
            place = amount % (len(self.shown) + 1)
            if deed in ("drop", "truncate", "flip"):
                self.shown = [c for c in self.shown if c != content]
            if deed == "truncate":
                self.shown.insert(place, content[: amount % len(content)])
            elif deed == "flip":
                at = amount % len(content)
                self.shown.insert(place, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            elif deed == "again":  # a copy, or a file that was dropped and comes back, or comes late
                self.shown.insert(place, content)
            elif deed == "shuffle":
                np.random.Generator(np.random.PCG64(amount)).shuffle(self.shown)


def state(tokens: int, total: int = TOKENS) -> bytes:
    """What a song's codes hold after so many tokens: a function of their number, as exact resume makes it."""
    codes = np.full(total, -1, np.int16)
    codes[:tokens] = np.arange(tokens) * 7919 % 509
    return b"header" + codes.tobytes()


def tokens_of(store: DriveStore) -> int:
    """Return how many tokens a store holds; the assertion that they are a state the song once had."""
    manifest, content = store.read("song.json"), store.read("level_2/codes.safetensors")
    if manifest is None:
        assert content is None
        return -1
    if content is None:
        return 0
    assert manifest == b'{"format": 1}'
    made = int((np.frombuffer(content[6:], np.int16) >= 0).sum())
    assert content == state(made), "not a state that the song ever had"
    return made


def work(store: DriveStore, until: int, step: int) -> None:
    """Go on with the song from what the store holds."""
    made = tokens_of(store)
    if made < 0:
        store.write("song.json", b'{"format": 1}')
        made = 0
    while made < until:
        made = min(until, made + step)
        store.write("level_2/codes.safetensors", state(made))


DEEDS = st.tuples(
    st.sampled_from(["drop", "truncate", "flip", "again", "shuffle"]), st.integers(0, 99), st.integers(0, 10_000)
)

SESSIONS = st.tuples(st.integers(1, TOKENS - 1), st.integers(1, 6), st.booleans(), st.lists(DEEDS, max_size=6))


@settings(max_examples=2100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(SESSIONS, max_size=4))
def test_what_is_read_back_is_a_prefix_of_the_truth_and_the_song_comes_out_the_same(
    sessions: list[tuple[int, int, bool, list[tuple[str, int, int]]]],
) -> None:
    """Each session works to some token on this machine or on a new one, then the mount does what it likes."""
    mount, journal = Adversary(), Adversary()
    root, machines = Path("nowhere"), 1
    for until, step, new_machine, deeds in sessions:
        if new_machine:
            journal, machines = Adversary(), machines + 1
        store = DriveStore(root, mount, journal)
        try:
            before = tokens_of(store)
        except SongError:
            return  # refused: its beginning is missing and nothing was done over it
        if before < 0 and mount.taken:
            return  # nothing at all of it is there: on that machine another song begins
        work(store, max(until, before), step)
        mount.show(deeds)
        # Two machines that each saw a part of the song may have gone on from different saves of it.
        if machines == 1:
            assert tokens_of(DriveStore(root, mount, journal)) == max(until, before), "the journal has it all"
    try:
        tokens_of(DriveStore(root, mount, Adversary()))
    except SongError:
        return
    for _ in range(4):
        # A save made again may be the very one that was missing, and bring back a longer history of a shorter song.
        work(DriveStore(root, mount, Adversary()), TOKENS, 5)
    assert tokens_of(DriveStore(root, mount, Adversary())) == TOKENS


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=900), st.lists(st.tuples(st.integers(0, 899), st.binary(max_size=50)), max_size=6))
def test_changes_make_the_new_content_from_the_old(old: bytes, edits: list[tuple[int, bytes]]) -> None:
    new = bytearray(old)
    for at, piece in edits:
        new[at : at + len(piece)] = piece
    change = Change.between("x", old, bytes(new))
    assert change.applied(old) == bytes(new)
    segment = Segment("song", 3, "before", (change, Change.between("y", None, b"all")))
    read = Segment.parse(segment.packed())
    assert read == segment
    assert replayed([segment], {"x": old}) == {"x": bytes(new), "y": b"all"}


def test_small_changes_of_a_long_file_are_small() -> None:
    old = bytes(1_000_000)
    new = old[:500] + b"tokens" + old[506:900_000] + b"more" + old[900_004:]
    assert len(Segment("s", 1, "", (Change.between("x", old, new),)).packed()) < 1000


def chain(length: int, song: str = "song", base: list[Segment] | None = None) -> list[Segment]:
    found = list(base or [])
    while len(found) < length:
        previous = found[-1].digest if found else ""
        change = Change.between("x", None, f"{song}{len(found)}".encode())
        found.append(Segment(song, len(found) + 1, previous, (change,)))
    return found


def test_the_longest_chain_wins_and_pieces_without_their_beginning_do_not() -> None:
    first = chain(5)
    branch = chain(7, "song", first[:2])[2:]
    assert longest_chain(reversed([*first, *branch])) == [*first[:2], *branch]
    assert longest_chain([*first[1:], *branch]) == []
    assert longest_chain([*first[:3], first[4]]) == first[:3]


def test_a_beginning_that_has_not_arrived_is_refused_not_begun_again(tmp_path: Path) -> None:
    mount = Adversary()
    work(DriveStore(tmp_path, mount, Adversary()), 9, 3)
    mount.shown = mount.shown[1:]
    with pytest.raises(SongError, match="is not on the mount yet"):
        DriveStore(tmp_path, mount, Adversary()).read("song.json")


def test_safety_counts_what_was_read_back(tmp_path: Path) -> None:
    mount, journal = Adversary(), Adversary()
    work(DriveStore(tmp_path, mount, journal), 9, 3)
    assert DriveStore(tmp_path, mount, journal).safety().summary == "all 4 saves read back from the mount"
    mount.shown = mount.shown[:2]
    found = DriveStore(tmp_path, mount, journal).safety()
    assert (found.here, found.there) == (4, 2)
    store = DriveStore(tmp_path, mount, journal)
    with store.lock():
        store.read("song.json")
    assert store.safety().there == 4, "what had not arrived was offered again"


class Refusing(Adversary):
    """A mount that is gone for a while."""

    gone = False

    def create(self, name: str, content: bytes) -> None:
        if self.gone:
            raise OSError(107, "Transport endpoint is not connected")
        super().create(name, content)


def test_a_mount_gone_for_a_moment_does_not_stop_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount, journal = Refusing(), Adversary()
    store = DriveStore(tmp_path, mount, journal)
    work(store, 6, 3)
    mount.gone = True
    work(store, 12, 3)
    assert tokens_of(DriveStore(tmp_path, mount, journal)) == 12
    monkeypatch.setattr("jukebox_kit.song.store.drive.MAX_REFUSAL_SECONDS", 0.0)
    with pytest.raises(SongError, match="safe on this machine"):
        work(store, 18, 3)
    mount.gone = False
    work(DriveStore(tmp_path, mount, journal), TOKENS, 3)
    assert tokens_of(DriveStore(tmp_path, mount, Adversary())) == TOKENS


@pytest.mark.parametrize("deletable", [True, False])
def test_what_is_saved_after_a_failed_save_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deletable: bool
) -> None:
    root = tmp_path / "song"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for number in range(20):  # the rival's digest is the greater one in about half of them
        name, store = f"versions/{number}/song.json", DriveStore(root)
        root.mkdir(exist_ok=True)
        store.write("song.json", b"{}")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            if not deletable:
                patch.setattr(Path, "unlink", refuse)
            with pytest.raises(SongError, match="could not be written"):
                store.write(name, b"failed")
        store.write(name, b"saved")
        assert DriveStore(root).read(name) == b"saved", number


def refuse(*_arguments: object) -> None:
    raise OSError(errno.EIO, "no answer")


def test_a_folder_brought_from_a_local_disk_goes_on(tmp_path: Path) -> None:
    (tmp_path / "level_2").mkdir()
    (tmp_path / "song.json").write_bytes(b'{"format": 1}')
    (tmp_path / "level_2" / "codes.safetensors").write_bytes(state(6))
    mount: Any = Adversary()
    work(DriveStore(tmp_path, mount, Adversary()), 9, 3)
    (tmp_path / "song.json").unlink()
    assert tokens_of(DriveStore(tmp_path, mount, Adversary())) == 9

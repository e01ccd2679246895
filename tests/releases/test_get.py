"""Getting the released files from servers that do everything wrong: whole and right, or not at all."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from jukebox_kit.engine.model import Model
from jukebox_kit.errors import CheckpointError, ConfigurationError, JukeboxKitError, RequestError
from jukebox_kit.model.weights.blank import linear_names
from jukebox_kit.model.weights.definition import load_definition
from jukebox_kit.model.weights.download.audit import check
from jukebox_kit.model.weights.download.disk import alone
from jukebox_kit.model.weights.download.fetch import blanks, get
from jukebox_kit.model.weights.download.release import KnownFile, Mirror, load_release
from jukebox_kit.model.weights.download.sources import Fetching
from tests.conftest import TESTS
from tests.releases.world import FILES, SPOILT, TABLES, World, checkpoint


def test_everything_arrives_is_converted_and_then_needs_no_network(world: World) -> None:
    world.misbehave("one", headers={"Content-MD5": md5(world.server.files[f"/one/{SPOILT}"])})
    here = world.get()
    assert [h.file for h in here] == [*FILES.values(), *TABLES]
    assert all(h.new and h.path.is_file() for h in here)
    assert world.intact()
    assert world.said == ["licence: MIT."]
    assert world.seen[-1].done == world.seen[-1].total
    asked = len(world.server.asked)
    assert [h.new for h in world.get()] == [False] * 6
    assert len(world.server.asked) == asked
    assert world.said == ["licence: MIT."]
    assert Model.load(world.yaml, "cpu").tables["v3"].artist("The Beatles").ids == (1,)
    record = json.loads((world.target / "tiny/level_2.safetensors.json").read_text())
    original = world.server.files[f"/one/{SPOILT}"]
    assert record["origins"][0]["sha256"] == hashlib.sha256(original).hexdigest()
    assert record["sha256"] == hashlib.sha256(world.converted().read_bytes()).hexdigest()


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def flipped(content: bytes) -> bytes:
    """Change one byte in the middle, where the weights are."""
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


HTML = b"<!DOCTYPE html><html><body>Sign in to this network</body></html>" * 400
WORKED_OUT: list[tuple[str, dict[str, object]]] = [
    ("drops", {"drop": 4000}),
    ("drops, and no etag", {"drop": 4000, "etag": ""}),
    ("drops twice, no ranges", {"drop": 4000, "ranges": False, "times": 2}),
    ("stalls", {"stall": 20_000, "times": 2}),
    ("stalls, no ranges", {"stall": 20_000, "times": 1, "ranges": False}),
    ("says no length", {"length": False}),
    ("is busy at first", {"answer": 503, "times": 2}),
    ("announces too much", {"lie": 1000}),
    ("answers another range", {"drop": 4000, "shift": 5, "times": 2}),
]
GIVEN_UP: list[tuple[str, dict[str, object], str]] = [
    ("404", {"answer": 404}, "it answered 404 Not Found"),
    ("500", {"answer": 500}, "it answered 500 Internal Server Error"),
    (
        "HTML",
        {"change": lambda _: HTML},
        "what it sends is not a checkpoint but starts with b'<!DOCTYPE html><html><bo",
    ),
    ("nothing", {"change": lambda _: b""}, "starts with b''"),
    ("announces too little", {"lie": -1000}, "the download cannot be used: .* is not a whole checkpoint"),
    ("truncated", {"change": lambda content: content[:-1000]}, "is not a whole checkpoint"),
    ("wrong bytes", {"change": flipped}, "its internal checksums do not match its content"),
    ("other than promised", {"headers": {"Content-MD5": md5(b"")}}, "does not match the server's checksum"),
    ("drops at the same place", {"drop": 9000, "ranges": False}, r"the connection ended after 9000 of \d+ bytes"),
    ("stalls for ever", {"stall": 9000, "ranges": False}, "no data arrived for 0.2 seconds"),
    ("compressed", {"headers": {"Content-Encoding": "gzip"}}, "an encoding that was not requested"),
    ("hostile", {"change": lambda _: hostile()}, "asks for posix.system"),
    ("another part", {"change": lambda _: checkpoint({"w": torch.zeros(3)})}, "another component"),
]


def hostile() -> bytes:
    return (TESTS / "broken" / "hostile.pth.tar").read_bytes()


@pytest.mark.parametrize(("name", "manner"), WORKED_OUT, ids=[name for name, _ in WORKED_OUT])
def test_a_bad_server_is_worked_out(world: World, name: str, manner: dict[str, object]) -> None:
    world.misbehave("one", **manner)
    world.get()
    assert world.intact()
    assert not world.asked("two")
    if name.startswith("drops,") or name == "drops":
        assert sum(wanted is not None for wanted in world.asked("one")) > 5


@pytest.mark.parametrize(("manner", "why"), [(m, w) for _, m, w in GIVEN_UP], ids=[name for name, _, _ in GIVEN_UP])
def test_what_cannot_be_worked_out_comes_from_the_next_place_or_ends_in_a_sentence(
    world: World, manner: dict[str, object], why: str
) -> None:
    world.misbehave("one", **manner)
    world.get()
    assert world.intact()
    assert world.asked("two") == [None]
    world.converted().unlink()
    world.misbehave("two", **manner)
    with pytest.raises(
        CheckpointError, match=rf"{SPOILT} could not be downloaded \(.*/one/{SPOILT}: .*{why}.*\); run it again"
    ):
        world.get()
    left = {p.name for p in (world.target / "tiny").iterdir() if p.name.startswith("level_2")}
    assert left <= {"level_2.safetensors.json", "level_2.pth.tar.part", "level_2.pth.tar.part.json"}
    world.server.manners.clear()
    world.get()
    assert world.intact()


def test_three_megabytes_with_a_drop_after_each(world: World) -> None:
    content = checkpoint(world.weights["level_2"], opt=torch.zeros(800_000))
    world.server.files[f"/one/{SPOILT}"] = content
    world.misbehave("one", drop=1 << 20)
    world.get()
    assert world.intact()
    assert world.asked("one") == [None, *(f"bytes={n << 20}-" for n in range(1, 4))]


def test_what_came_before_a_kill_is_gone_on_with(world: World) -> None:
    whole = world.server.files[f"/one/{SPOILT}"]

    def killed(fetching: Fetching) -> None:
        if fetching.file == SPOILT and fetching.done > 5000:
            raise KeyboardInterrupt

    world.misbehave("one", drop=6000)
    with pytest.raises(KeyboardInterrupt):
        world.get(progress=killed)
    part = world.target / f"{SPOILT}.part"
    have = part.stat().st_size
    assert 0 < have < len(whole)
    world.server.manners.clear()
    world.server.asked.clear()
    world.get()
    assert world.intact()
    assert world.asked("one") == [f"bytes={have}-"]


@pytest.mark.parametrize("change", ["etag", "size", "url", "record"])
def test_parts_of_different_files_are_never_joined(world: World, change: str) -> None:
    part = world.target / f"{SPOILT}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"PK\x03\x04" + bytes(5996))  # not the beginning of the file
    known = {"url": f"{world.server.url}/one/{SPOILT}", "validator": '"zero"', "total": 12345, "promised": {}}
    if change == "size":  # the server's etag is not one it can compare: it sends the range whatever If-Range says
        known |= {"validator": '"one"'}
    if change == "url":
        known |= {"url": f"{world.server.url}/elsewhere/{SPOILT}", "validator": '"one"'}
    part.with_name(part.name + ".json").write_text("{}" if change == "record" else json.dumps(known))
    world.get()
    assert world.intact()
    asked = world.asked("one")
    assert asked == ([None] if change in ("url", "record") else ["bytes=6000-", None][: len(asked)])


def test_a_third_party_s_word_is_held_against_what_comes(world: World) -> None:
    content = world.server.files[f"/one/{SPOILT}"]
    sha256 = hashlib.sha256(content).hexdigest()
    world.release = dataclasses.replace(
        world.release, files={**world.release.files, SPOILT: KnownFile(len(content) + 1, "0" * 64)}
    )
    with pytest.raises(CheckpointError, match=rf"has {len(content)} bytes instead of the expected {len(content) + 1}"):
        world.get()
    assert not (world.target / f"{SPOILT}.part").exists()
    world.release = dataclasses.replace(world.release, files={**world.release.files, SPOILT: KnownFile(None, "0" * 64)})
    with pytest.raises(CheckpointError, match=rf"has sha256 {sha256}, not 0{{64}}, .*--accept-sha256 {sha256}"):
        world.get()
    assert not world.converted().exists()
    world.get(accepted=frozenset({sha256}))
    assert world.intact()


def test_what_was_seen_first_is_held_against_what_comes_later(world: World) -> None:
    world.get()
    world.converted().unlink()
    other = checkpoint(world.weights["level_2"], more=1)
    world.server.files |= {f"/one/{SPOILT}": other, f"/two/{SPOILT}": other}
    with pytest.raises(CheckpointError, match="it had when first seen here"):
        world.get()
    world.get(accepted=frozenset({hashlib.sha256(other).hexdigest()}))
    assert world.intact()


def test_a_silent_place_is_asked_once(world: World) -> None:
    world.release = dataclasses.replace(world.release, prefixes=("http://127.0.0.1:9/", f"{world.server.url}/two/"))
    world.get()
    assert world.intact()
    world.converted().unlink()
    world.release = dataclasses.replace(world.release, prefixes=("http://127.0.0.1:9/",))
    with pytest.raises(CheckpointError, match=r"it cannot be reached \(.*refused\)"):
        world.get()


def test_maps_are_float16_unless_kept_and_a_gpu_sees_the_same_numbers(world: World) -> None:
    world.get()
    blank = blanks(load_definition(world.yaml))["level_2"]
    stored = load_file(world.converted())
    assert {n for n, v in stored.items() if v.dtype is torch.float16} == linear_names(blank)
    assert all(v.dtype is torch.float32 for v in load_file(world.converted("vqvae")).values())
    half = Model.load(world.yaml, "cpu", "float16", "cached").top.state_dict()
    with pytest.raises(RequestError, match="has float16 linear layers; delete it"):
        world.get(keep_float32=True)
    shutil.rmtree(world.target)
    world.get(keep_float32=True)
    assert world.intact()
    assert {v.dtype for v in load_file(world.converted()).values()} == {torch.float32}
    kept = Model.load(world.yaml, "cpu", "float16", "cached").top.state_dict()
    assert all(torch.equal(half[name], value) and half[name].dtype is value.dtype for name, value in kept.items())
    exact = Model.load(world.yaml, "cpu", engine="cached").top.state_dict()
    assert all(torch.equal(value, world.weights["level_2"][name]) for name, value in exact.items())


def test_files_in_known_caches_are_used_where_they_lie(world: World, tmp_path: Path) -> None:
    cache = tmp_path / "home/.cache/jukebox/models"
    for file in FILES.values():
        (cache / file).parent.mkdir(parents=True, exist_ok=True)
        (cache / file).write_bytes(world.server.files[f"/one/{file}"])
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in cache.rglob("*.pth.tar")}
    here = world.get()
    assert [h.path for h in here if not h.new] == [cache / file for file in FILES.values()]
    assert {path for path, _ in world.server.asked} == {"/ids/artists.txt", "/ids/genres.txt"}
    here = world.get(convert=True)
    assert [h.path for h in here][:4] == [world.converted(part) for part in FILES]
    assert world.intact()
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in cache.rglob("*.*") if p.is_file()}


def test_a_damaged_file_in_a_cache_is_replaced_but_not_touched(world: World, tmp_path: Path) -> None:
    broken = tmp_path / "home/.cache/jukebox/models" / SPOILT
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"PK\x03\x04")
    world.get()
    assert world.intact()
    assert any("download it again. Downloading another copy." in line for line in world.said)
    assert broken.read_bytes() == b"PK\x03\x04"


def test_no_room_is_said_before_anything_is_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(CheckpointError, match=r"tiny needs .* MiB in .*, but only 0.00 MiB are free; free .* MiB more"):
        world.get()
    assert not world.server.asked
    assert not world.target.exists()


def test_a_full_disk_is_a_sentence_and_what_came_is_gone_on_with(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match="could not be written: the disk is full; free some space"):
            world.get()
    world.get()
    assert world.intact()


def test_one_process_at_a_time(world: World) -> None:
    with alone(world.target), pytest.raises(CheckpointError, match="another process is downloading files to"):
        world.get()


def test_a_wrong_table_is_refused(world: World) -> None:
    world.server.files["/ids/genres.txt"] = b"unknown;0\n"
    with pytest.raises(
        CheckpointError, match=r"genres.txt could not be downloaded \(.*the download is a different file\)"
    ):
        world.get()
    assert not (world.target / "genres.txt").exists()
    assert world.converted().exists()


def test_only_files_of_the_release_can_be_got(world: World, tiny: Path) -> None:
    assert not any(here.new for here in get(tiny))
    world.release = dataclasses.replace(world.release, files={})
    with pytest.raises(RequestError, match=r"tiny/vqvae.pth.tar of tiny is not a file of the release"):
        world.get()


def test_check_records_at_first_sight_and_finds_a_changed_byte(world: World) -> None:
    world.get()
    assert {c.state for c in check(world.yaml, world.release)} == {"right"}
    for part in FILES:
        world.converted(part).with_name(f"{part}.safetensors.json").unlink()
    assert {c.state for c in check(world.yaml, world.release)} == {"right", "recorded"}
    assert {c.state for c in check(world.yaml, world.release)} == {"right"}
    content = world.converted().read_bytes()
    world.converted().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (world.target / "genres.txt").write_bytes(b"")
    wrong = {c.file: c.why for c in check(world.yaml, world.release) if c.state == "wrong"}
    assert ", not " in wrong[SPOILT]
    assert "not the release's table" in wrong["genres.txt"]
    world.converted("vqvae").write_bytes(b"")
    world.converted("level_0").unlink()
    states = {c.file: c.state for c in check(world.yaml, world.release)}
    assert (states[FILES["vqvae"]], states[FILES["level_0"]]) == ("wrong", "missing")


def test_the_same_weights_are_the_same_bytes_and_so_the_same_fingerprint(world: World) -> None:
    world.get()
    before = Model.load(world.yaml, "cpu").fingerprints()
    shutil.rmtree(world.target)
    world.misbehave("one", answer=404)
    world.server.files[f"/two/{SPOILT}"] = checkpoint(world.weights["level_2"], legacy=True)
    world.get()
    assert Model.load(world.yaml, "cpu").fingerprints() == before


def test_the_shell(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from jukebox_kit.cli.app import main

    def shell(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["jukebox-kit", "models", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    monkeypatch.setattr("jukebox_kit.model.weights.download.fetch.load_release", lambda: world.release)
    monkeypatch.setattr("jukebox_kit.model.weights.download.audit.load_release", lambda: world.release)
    code, out, err = shell("get", world.yaml)
    assert code == 0
    assert out.splitlines()[0] == f"{world.converted('vqvae')} (new)"
    assert err.startswith("licence: MIT.\n")
    assert re.search(rf"{SPOILT}: 100%", err)
    code, out, _ = shell("get", world.yaml, "--json")
    assert [row["new"] for row in json.loads(out)] == [False] * 6
    assert shell("check", world.yaml)[0] == 0
    world.converted().write_bytes(b"")
    code, out, err = shell("check", world.yaml, "--json")
    assert (code, [row["state"] for row in json.loads(out)[str(world.yaml)]].count("wrong")) == (1, 1)
    assert err == "jukebox-kit: 1 of the files are wrong; delete them and download them again.\n"
    assert "did you mean 5b_lyrics" in shell("get", "5b_lyric")[2]
    assert shell("get", "demo")[0] == 0
    assert "is not a sha256; write its 64 digits" in shell("get", world.yaml, "--accept-sha256", "abc")[2]
    assert "is not a URL" in shell("get", world.yaml, "--from", "/mnt")[2]


def test_the_facts_that_ship_know_every_file_of_the_released_models() -> None:
    release = load_release()
    for model in ("1b_lyrics", "5b", "5b_lyrics"):
        definition = load_definition(model)
        assert set(definition.files.values()) <= set(release.files)
        assert all({t.artists, t.genres} <= set(release.tables) for t in definition.tables.values())
    assert all(set(mirror.holds.values()) <= set(release.files) for mirror in release.mirrors)
    urls = [release.url(prefix, "5b/vqvae.pth.tar") for prefix in release.prefixes]
    assert urls[1] == "https://openaipublic.blob.core.windows.net/jukebox/models/5b/vqvae.pth.tar"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text.replace("69745413", "6974541x"), "is not a sha256"),
        (lambda text: text.replace("https://huggingface.co", "huggingface.co"), "is not a URL"),
        (lambda text: text.replace("prefixes:", "prefix:"), "line 3: unknown setting prefix; did you mean prefixes"),
        (lambda text: text.replace("bytes: 7726329", "bytes: -1"), "bytes must be above 0"),
    ],
)
def test_wrong_facts_are_told(tmp_path: Path, change: Callable[[str], str], sentence: str) -> None:
    from jukebox_kit.model.weights.download.release import FACTS

    (tmp_path / "facts.yaml").write_text(change(FACTS.read_text()))
    with pytest.raises(ConfigurationError, match=sentence):
        load_release(tmp_path / "facts.yaml")
    assert issubclass(ConfigurationError, JukeboxKitError)


def test_mirrors_are_named_by_the_release() -> None:
    assert all(isinstance(mirror, Mirror) for mirror in load_release().mirrors)

"""Make the song folders beside this file, and expected.json, with the package as it was before it was restructured.

The tests open these folders with the present package: they must show the same history and resume to the same codes.
Commit c775fcd wrote the folders, and they are not written again when the package changes. To do so nevertheless, check
that commit out, and run there, with an empty folder for the results:

    PYTHONPATH=. python .../make.py FOLDER

Everything is sampled with the demo model on the CPU, in a minute or two. Times, and where exactly the album is stopped,
differ each time; the codes do not. Then every folder is copied, and the same old code finishes the copy: what the
folder showed before and the result are written to expected.json.

The package is imported by name, as the modules of that commit are not those of today.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

COMMIT = "c775fcd"
LEVELS = (2, 1, 0)
MUSIC = "/music"  # stands in the songs' files where the folder was in which they were made
# The audio that is kept, so that the songs say of some of it that it is theirs, or from before an edit.
KEPT_AUDIO = (
    "finished/level_0/item_0.wav",
    "edited/level_0/item_1.wav",
    "forked/level_2/item_0.wav",
    "forked/level_2/item_1.wav",
)
ALBUM = """\
about: two songs, stopped in the second one
folder: . # run where this file is

defaults:
  artist: glass bells
  genre: march
  seed: 21

songs:
  - name: first
    seconds: 1
  - name: second
    seconds: 6
    lyrics: |
      la mo di ne
      su ta
"""


def part(name: str) -> Any:
    """Return a module of the old package."""
    return import_module(f"jukebox_kit.{name}" if name else "jukebox_kit")


# Helpers for making songs in the states that they are needed in.


def new(folder: str, **request: Any) -> Any:
    """Return a new song of the demo model, of which nothing is sampled."""
    return part("").Song.create(folder, model(), **request)


@cache
def model() -> Any:
    """Return the demo model, loaded once."""
    return part("").Model.load("demo", "cpu")


def stopped(do: Callable[[Any], object], tokens: int, batch: int = 16) -> None:
    """Do something with options that stop it at a token, counted over all batches."""
    asked = iter(range(tokens - 1))
    try:
        do(part("").Options(batch=batch, stop=lambda: next(asked, None) is None))
    except part("errors").StoppedError:
        return
    raise AssertionError(f"it came to its end before {tokens} tokens")


@contextlib.contextmanager
def replaced(module: str, name: str, value: Any) -> Iterator[None]:
    """Let a name of a module mean something else for a while."""
    before = getattr(part(module), name)
    setattr(part(module), name, value)
    try:
        yield
    finally:
        setattr(part(module), name, before)


@contextlib.contextmanager
def scarce_memory() -> Iterator[None]:
    """Let memory suffice for one item, or one piece, at once."""
    import torch

    enough = part("steps").sample_level

    def scarce(prior: Any, job: Any, *others: Any) -> Any:
        if len(job.items) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return enough(prior, job, *others)

    with replaced("steps", "sample_level", scarce):
        yield


def other_token(codes: Any, row: int, position: int) -> Any:
    """Return codes with one token changed, as on a machine that once computed otherwise."""
    found = codes.copy()
    assert found[row, position] >= 0
    found[row, position] = (found[row, position] + 1) % 512
    return found


def tamper(song: Any, level: int, row: int, position: int) -> None:
    """Change a token of a level, with the checksum that belongs to it."""
    found = song.level(level)
    song.write_level(level, replace(found, codes=other_token(found.codes, row, position)))


def tamper_share(song: Any, position: int) -> None:
    """Change a token of the only share of a song, in its first row."""
    (path,) = (song.root / "shares").glob("*/codes.safetensors")
    codes = part("codes")
    found = codes.unpack_codes(path.read_bytes(), "share")
    path.write_bytes(codes.pack_codes(replace(found, codes=other_token(found.codes, 0, position))))


# The songs. Each function makes one in the present folder.


def finished() -> None:
    """Make two items, all three levels, in one go."""
    request = {"artist": "glass bells", "genre": "dance", "seconds": 2, "items": 2, "seed": 1, "strict": True}
    part("").sample(new("finished", **request), model=model())


def half_done() -> None:
    """Make a song stopped in the second window of level 1."""
    request = {"artist": "saw strings", "genre": "march", "seconds": 3, "seed": 2, "temperature": 0.95, "top_p": 0.98}
    song = part("").level_2(new("half_done", **request), model())
    stopped(lambda options: part("").level_1(song, model(), options), 1200)


def edited() -> None:
    """Make a song with every edit, and what can happen while level 2 is sampled; stopped in level 1 of item 0."""
    edits, jk = part("edits"), part("")
    request = {"artist": "hollow reeds", "genre": "waltz", "lyrics": "ne di\nmo la", "seconds": 1, "items": 2}
    song = new("edited", seed=7, **request)
    stopped(lambda options: jk.level_2(song, model(), options), 100)
    tamper(song, 2, 1, 50)
    jk.level_2(song, model(), jk.Options(batch=1))  # another batch, and item 1 does not come out again
    edits.extend(song, 0.25, model(), lyrics="ne di\nsu ta", genre="lullaby")  # keeps version 1
    with scarce_memory():
        jk.level_2(song, model())
    edits.choose(song, 1)  # 2
    edits.extend(song, 0.25, model())  # 3
    jk.level_2(song, model())
    edits.vary(song)  # 4
    jk.level_2(song, model())
    edits.trim(song, 1.125, model())  # 5
    edits.undo(song)  # 6
    edits.undo(song)  # 7
    edits.redo(song)  # 8
    edits.visit(song, "2")  # 9
    edits.vary(song)  # 10
    edits.visit(song, "6")  # 11
    edits.undo(song)  # 12
    jk.upsample(song, (1,), model=model())
    stopped(lambda options: jk.upsample(song, model=model(), options=options), 300)
    edits.trim(song, 0.75, model())  # 13
    edits.undo(song)  # 14


def pieces() -> None:
    """Make a song in two pieces: level 1 with all that can happen, level 0 stopped in the middle."""
    jk = part("")
    song = jk.level_2(new("pieces", artist="the flutes", genre="lullaby", seconds=4, seed=3), model())
    with scarce_memory():
        stopped(lambda options: jk.upsample(song, until=1, model=model(), options=options, pieces=2), 200)
    tamper(song, 1, 0, 100)
    jk.level_1(song, model())
    stopped(lambda options: jk.level_0(song, model(), options), 2500)


def shared() -> None:
    """Make a song whose levels were made in shares; those of level 0 are not taken in yet, one of them half done."""
    jk, steps, share = part(""), part("steps"), part("steps").sample_share
    request = {"artist": "saw strings", "genre": "dance", "seconds": 1.5, "items": 2, "seed": 4, "pieces": (2, 1)}
    song = new("shared", **request)
    with scarce_memory():
        stopped(lambda options: share(song, 2, range(0, 2), model(), options), 60)
    tamper_share(song, 20)
    steps.sample_share(song, 2, range(0, 2), model(), jk.Options(batch=1))
    jk.level_2(song, model())
    for row in range(2):
        share(song, 1, range(row, row + 1), model())
    jk.level_1(song, model())
    share(song, 0, range(0, 2), model())
    stopped(lambda options: share(song, 0, range(2, 4), model(), options), 800)


def segments() -> None:
    """Make a song as on a mount like Google Drive: extended once, stopped in level 1; its journal is not kept."""
    edits, jk = part("edits"), part("")
    fields = {"seconds": 1.5, "seed": 5, "top_k": 100, "hop_fraction": (0.25, 0.5, 0.125)}
    os.environ["JUKEBOX_KIT_STORE"] = "segments"
    try:
        song = jk.level_2(new("segments", artist="glass bells", genre="lullaby", **fields), model())
        edits.extend(song, 0.25, model(), temperature=(0.99, 0.99, 0.97))
        jk.level_2(song, model())
        stopped(lambda options: jk.level_1(song, model(), options), 400)
    finally:
        del os.environ["JUKEBOX_KIT_STORE"]


def lyrics() -> None:
    """Make a song with lyrics that begins with a recording, stopped in level 1."""
    request = {"artist": "the flutes", "genre": "waltz", "lyrics": "la mo di ne\nsu ta", "seconds": 2, "items": 2}
    more = {"total_seconds": 10, "prompt": "finished/level_0/item_0.wav", "prompt_seconds": 0.5}
    song = part("").level_2(new("lyrics", seed=6, **request, **more), model())
    stopped(lambda options: part("").level_1(song, model(), options), 300)


def forked() -> None:
    """Make a fork of the finished song, of which one item alone has level 1, and is then chosen."""
    edits, jk = part("edits"), part("")
    song = edits.fork(jk.Song.open("finished"), "forked", 0.5, model(), seconds=1, artist="hollow reeds")
    jk.level_2(song, model())
    edits.extend(song, 0.125, model())
    jk.level_2(song, model(), jk.Options(batch=1))
    jk.upsample(song, (1,), 1, model())
    edits.choose(song, 1)  # the audio of item 0 is from before this


def cut_short() -> None:
    """Make a song of which an edit was cut short once song.json had named what it was to become."""
    edits, jk = part("edits"), part("")
    song = jk.level_2(new("cut_short", artist="saw strings", genre="waltz", seconds=1, seed=8), model())

    def cut(_song: Any) -> None:
        raise KeyboardInterrupt

    before = jk.Song.settle
    jk.Song.settle = cut
    try:
        edits.extend(song, 0.25, model())
    except KeyboardInterrupt:
        pass
    finally:
        jk.Song.settle = before
    assert jk.Song.open("cut_short").manifest.settling == "next"


def imported(golden: Path) -> None:
    """Import an old run, a co-composer file and a web UI's project, as the shell does."""
    known = ("--model", "demo", "--artist", "glass bells", "--genre", "dance", "--total-seconds", "8")
    shell("import", golden / "old_run", "imported", *known, "--seconds", "1.5")
    shell("import", golden / "old_formats" / "zs-top-level-final.t", "composed", *known, "--lyrics", "la mo")
    shell("import", golden / "old_formats" / "webui", "web_ui", *known)


def album() -> None:
    """Make an album in a process of its own, and stop it in level 1 of the second song."""
    Path("album").mkdir()
    Path("album/album.yaml").write_text(ALBUM)
    process = subprocess.Popen(album_command("--save-every", "0.1"), cwd="album", stdout=subprocess.DEVNULL)
    while process.poll() is None and not Path("album/second/level_1/codes.safetensors").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    ends = [(song["name"], song["end"]) for song in json.loads(Path("album/album.json").read_text())["songs"]]
    assert ends == [("first", "finished"), ("second", "stopped")], ends


def album_command(*options: str) -> list[str]:
    """Return the command that makes the album where it lies."""
    return [sys.executable, "-m", "jukebox_kit", "album", "album.yaml", "--device", "cpu", *options]


def shell(*arguments: object) -> str:
    """Run a command of the shell in this process, in the present folder; returns what it printed."""
    said, before = io.StringIO(), sys.argv
    sys.argv = ["jukebox-kit", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(said):
            part("cli").main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"{arguments} ended with {end.code}") from end
    finally:
        sys.argv = before
    return said.getvalue()


SONGS: list[Callable[[], None]] = [
    finished,
    half_done,
    edited,
    pieces,
    shared,
    segments,
    lyrics,
    forked,
    cut_short,
    album,
]


# What is committed of them.


def strip(root: Path, golden: Path) -> None:
    """Leave out what can be made again, and what tells of the machine on which this ran."""
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        made_again = path.suffix in (".png", ".html") or (path.suffix == ".wav" and path.name != "prompt.wav")
        if made_again and name not in KEPT_AUDIO:
            path.unlink()
    shutil.rmtree(root / "album" / "logs")
    host = socket.gethostname()
    for path in root.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        neutral = text.replace(str(golden), f"{MUSIC}/old").replace(str(root), MUSIC).replace(f", {host}, ", ", host, ")
        if neutral != text:
            path.write_text(neutral, encoding="utf-8")
    for path in root.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(str(place).encode() in content for place in (root, golden)), path


# What is expected of them.


def digest(values: Any) -> str:
    """Return sha256 of an array's bytes."""
    return hashlib.sha256(values.tobytes()).hexdigest()


def codes_of(song: Any) -> dict[str, Any]:
    """Return what each level holds, its codes and hidden tokens (`others`) by their sha256."""
    found: dict[str, Any] = {}
    for level in LEVELS:
        held = song.level(level)
        found[f"level_{level}"] = {
            "sha256": digest(song.codes(level)),
            "shape": list(held.codes.shape),
            "given": list(held.given),
            "done": list(held.done),
            "joins": [[join.begin, join.cut, join.end] for join in held.joins],
            "others_sha256": None if held.others is None else digest(held.others),
        }
    return found


def shown(name: str) -> dict[str, Any]:
    """Return all that a song shows to a person and to programs, without changing it."""
    song = part("").Song.open(name)
    manifest, page = song.manifest, part("page").page_of(song)
    how, alignment = page.again, part("alignment")
    aligned = {item: alignment.read_alignment(song, item) for item in range(song.request.items)}
    return {
        "request": asdict(song.request),
        "upsample": manifest.upsample,
        "came_from": manifest.came_from,
        "history": [line["what"] for line in manifest.history],
        "facts": [{k: v for k, v in line.items() if k not in ("when", "what")} for line in manifest.history],
        "edits": list(part("again").edits_of(manifest)),
        "codes": codes_of(song),
        "undo": list(manifest.undo),
        "redo": list(manifest.redo),
        "settling": manifest.settling,
        "versions": list(part("versions").version_names(song)),
        "tree": shell("tree", name),
        "tree_json": json.loads(shell("tree", name, "--json")),
        "status": shell("status", name),
        "status_json": json.loads(shell("status", name, "--json")),
        "again": {"shell": how.shell, "python": how.python, "words": list(how.words)},
        "page": {
            "history": [list(line) for line in page.history],
            "request": [list(row) for row in page.request],
            "state": {f"level_{state.level}": state.words for state in page.state},
            "notes": list(page.notes),
            "untimed": page.untimed,
            "sounds": [[sound.audio, sound.seconds] for item in page.items for sound in item.sounds],
        },
        "alignments": {str(item): digest(found.weights) for item, found in aligned.items() if found is not None},
    }


def turned(root: Path, name: str, seen: dict[str, Any]) -> dict[str, Any]:
    """Return what undo, redo and each visit make of a song, each tried on a copy of its own."""
    turns = [turn for turn in ("undo", "redo") if seen[turn]]
    found: dict[str, Any] = {}
    for turn in [*turns, *(f"visit {version}" for version in seen["versions"])]:
        with copied(root, name) as copy:
            command, *version = turn.split()
            said = shell(command, copy, *version)
            song = part("").Song.open(copy)
            found[turn] = {
                "said": said,
                "codes": codes_of(song),
                "request": asdict(song.request),
                "undo": list(song.manifest.undo),
                "redo": list(song.manifest.redo),
                "tree": shell("tree", copy),
            }
    return found


def gone_on_with(root: Path, name: str) -> dict[str, Any]:
    """Return what a copy of a song shows once it was resumed and came to its end."""
    with copied(root, name) as copy:
        shell("resume", copy, "--device", "cpu")
        found = shown(copy)
        marks = part("").Song.open(copy).manifest.sounds
    unlike = ("tree_json", "status_json", "alignments", "edits", "facts")  # said already, or float numbers, or of here
    return {key: value for key, value in found.items() if key not in unlike} | {"sounds": marks}


@contextlib.contextmanager
def copied(root: Path, name: str) -> Iterator[str]:
    """Let a copy of a folder lie alone in the present folder, which is another one each time; gives its name there."""
    with tempfile.TemporaryDirectory() as place, inside(Path(place)):
        short = Path(name).name
        shutil.copytree(root / name, short)
        yield short


def album_of(root: Path) -> dict[str, Any]:
    """Return what the album says is left of it, and what its songs are once a copy of it was made to its end."""
    with copied(root, "album") as copy, inside(Path(copy)):
        planned = shell("album", "album.yaml", "--dry-run").splitlines()
        subprocess.run(album_command(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        songs = {name: codes_of(part("").Song.open(name)) for name in ("first", "second")}
        told = json.loads(Path("album.json").read_text())["songs"]
    return {
        "planned": [line for line in planned if not line.startswith("read and planned in ")],
        "ends": {song["name"]: song["end"] for song in told},
        "codes": songs,
    }


def expected(root: Path) -> dict[str, Any]:
    """Return the content of expected.json; the songs are those in the folder and in the folders below it."""
    import torch

    songs: dict[str, Any] = {}
    for path in sorted(root.rglob("song.json")):
        name = str(path.parent.relative_to(root))
        if "/versions/" in name:
            continue
        sys.stderr.write(f"{name}: what is expected of it\n")
        with copied(root, name) as copy:
            before = shown(copy)
        songs[name] = {"before": before, "turns": turned(root, name, before), "after": gone_on_with(root, name)}
    return {
        "about": ABOUT,
        "made_with": {
            "commit": COMMIT,
            "torch": torch.__version__,
            "cpu": torch.backends.cpu.get_cpu_capability(),
        },
        "songs": songs,
        "album": album_of(root),
    }


ABOUT = [
    "What commit c775fcd made of the folders beside this file; see make.py.",
    "Every command was run in the folder that holds the song, with the song's last name: status, tree and recipes name "
    "it so. The store was a local one, except for segments, whose journal was not there.",
    "before: the folder as it is. turns: what undo, redo and each visit make of it. after: what comes of "
    "jukebox-kit resume NAME --device cpu. Codes are given by sha256 of their int16 bytes, of each level as a whole.",
    "Codes are the same on any machine as far as float32 rounds alike. Where torch, the CPU or the engine differ, the "
    "history after resuming has one more line for a level that was begun, 'goes on at token N on something else', and "
    "the recipe's words name it.",
]


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def main(folder: str) -> None:
    """Make everything."""
    for name in ("steps", "keeping", "edits", "shares"):
        try:
            part(name)
        except ModuleNotFoundError:
            sys.exit(f"this is not the package of commit {COMMIT}: it has no jukebox_kit/{name}.py")
    root, repository = Path(folder).resolve(), Path(part("").__file__).resolve().parents[1]
    golden = repository / "tests" / "golden"
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        sys.exit(f"{root} is not empty; name another folder")
    os.environ["PYTHONPATH"] = str(repository)
    with contextlib.ExitStack() as held:
        os.environ["XDG_STATE_HOME"] = held.enter_context(tempfile.TemporaryDirectory())
        for name in ("strip_png", "spectrogram_png"):  # pictures take longer than these songs, and are not kept
            held.enter_context(replaced("sounds", name, lambda *_: b""))
        with inside(root):
            for make in SONGS:
                sys.stderr.write(f"{make.__name__}\n")
                make()
            sys.stderr.write("imported\n")
            imported(golden)
        strip(root, golden)
        os.environ["XDG_STATE_HOME"] = held.enter_context(tempfile.TemporaryDirectory())  # as on another machine
        found = expected(root)
    (root / "expected.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make.py FOLDER")
    main(sys.argv[1])

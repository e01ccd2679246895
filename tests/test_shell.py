"""What surrounds the program: closed, full and abandoned streams, encodings, names of any bytes, signals, devices."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from jukebox_kit.cli import streams
from jukebox_kit.engine import Model
from jukebox_kit.errors import RequestError
from jukebox_kit.model.weights import load_definition
from jukebox_kit.song import Song
from jukebox_kit.song.store.detect import file_system
from jukebox_kit.steps import RunSettings, load_for, plan_memory
from tests.conftest import Run, shell
from tests.test_cli import exit_code

pytestmark = pytest.mark.shell

PROGRAM = [sys.executable, "-m", "jukebox_kit"]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LOST = "jukebox-kit: stdout could not be written (no space left on device), but everything that was done is saved.\n"


def sh(
    redirections: str, *words: object, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the program with redirections as the shell writes them; AssertionError for a traceback."""
    command = ["bash", "-o", "pipefail", "-c", f'"$@" {redirections}', "bash", *PROGRAM, *map(str, words)]
    given = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    done = subprocess.run(command, capture_output=True, env=given, timeout=300, check=False)
    assert b"Traceback" not in done.stderr, done.stderr
    assert b"Exception ignored" not in done.stderr, done.stderr
    return done


def sampled(folder: Path, tiny: Path) -> list[object]:
    return ["sample", folder, "--model", tiny, "--seconds", "0.1", "--device", "cpu"]


def finished(folder: Path) -> bool:
    return all(status.done == status.total for status in Song.open(folder).status())


@pytest.mark.parametrize(
    ("redirections", "code", "said"),
    [
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
        ("<&-", 0, None),
        (">&-", 0, None),
        ("<&- >&- 2>&-", 0, ""),
        (">/dev/full", 1, None),
        (">/dev/full 2>/dev/full", 1, ""),
        ("| head -c 0", 0, None),
        ("2>&1 >/dev/null | head -c 0", 0, ""),
    ],
)
def test_a_song_is_sampled_whatever_its_progress_is_written_to(
    redirections: str, code: int, said: str | None, tiny: Path, tmp_path: Path
) -> None:
    done = sh(redirections, *sampled(tmp_path / "song", tiny))
    assert done.returncode == code, done.stderr
    assert finished(tmp_path / "song")
    assert (tmp_path / "song" / "index.html").exists()
    if said is not None:
        assert done.stderr.decode() == said
    if redirections == ">/dev/full":
        assert done.stderr.decode().endswith(LOST)


def test_the_paths_are_printed_where_only_the_progress_is_lost(tiny: Path, tmp_path: Path) -> None:
    done = sh("2>&-", *sampled(tmp_path / "song", tiny))
    assert done.stdout.decode().splitlines()[0] == str(tmp_path / "song" / "level_0" / "item_0.wav")


@pytest.mark.parametrize("redirections", ["2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_an_album_is_finished_whatever_its_progress_is_written_to(
    redirections: str, tiny: Path, tmp_path: Path
) -> None:
    songs = "songs: [{name: a, artist: unknown, genre: unknown, seconds: 0.1}]"
    (tmp_path / "album.yaml").write_text(f"folder: {tmp_path}/songs\ndefaults: {{model: {tiny}}}\n{songs}\n")
    done = sh(redirections, "album", tmp_path / "album.yaml", "--device", "cpu")
    assert done.returncode == 0, done.stdout
    assert finished(tmp_path / "songs" / "a")


@pytest.mark.parametrize(("redirections", "code"), [(">&-", 0), (">/dev/full", 1), ("| head -c 0", 0), ("2>&-", 0)])
@pytest.mark.parametrize("words", [["models", "--json"], ["--help"], ["sample", "--help"]])
def test_what_is_printed_is_lost_without_a_traceback(redirections: str, code: int, words: list[str]) -> None:
    done = sh(redirections, *words)
    assert done.returncode == code
    assert done.stderr.decode() == (LOST if code else "")


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full", "<&- >&- 2>&-"])
def test_errors_keep_their_code(redirections: str, tmp_path: Path) -> None:
    assert sh(redirections, "resume", tmp_path / "nowhere").returncode == 1
    assert sh(redirections, "sample").returncode == 2


def test_a_closed_stdin_asks_nothing(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    done = sh("<&-", "import", tmp_path / "old", tmp_path / "songs")
    assert done.returncode == 1
    assert done.stderr.startswith(b"jukebox-kit: ")


def test_no_file_takes_the_number_of_a_closed_stream() -> None:
    code = (
        "import os, tempfile\n"
        "from jukebox_kit.cli.streams import open_streams\n"
        "open_streams()\n"
        "with tempfile.TemporaryFile() as file:\n"
        "    os.write(2, b'a line of a library')\n"
        "    assert file.fileno() > 2 and not file.read()\n"
    )
    for redirections in ("2>&-", "<&- >&- 2>&-", ">&-"):
        command = ["bash", "-c", f'"$@" {redirections}', "bash", sys.executable, "-c", code]
        assert subprocess.run(command, check=False).returncode == 0


def test_a_pipe_that_is_full_is_waited_for() -> None:
    code = "from jukebox_kit.cli.streams import open_streams\nopen_streams()\nprint('x' * 300_000)"
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen([sys.executable, "-c", code], stdout=writing) as process, os.fdopen(reading, "rb") as pipe:
        os.close(writing)
        time.sleep(0.5)
        assert pipe.read() == b"x" * 300_000 + b"\n"
    assert process.returncode == 0


NAMES = ["歌", os.fsdecode(b"caf\xe9"), "Beyonce\u0301 (1)"]


@pytest.mark.parametrize("name", NAMES, ids=["Japanese", "not UTF-8", "decomposed"])
@pytest.mark.parametrize(
    "environment", [{}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "ascii:strict"}, ASCII, {"LC_ALL": "C"}]
)
def test_a_folder_may_have_any_name(name: str, environment: dict[str, str], tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / name
    done = sh("", *sampled(folder, tiny), environment=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == os.fsencode(folder / "level_0" / "item_0.wav")
    assert finished(folder)


@pytest.mark.parametrize("name", NAMES, ids=["Japanese", "not UTF-8", "decomposed"])
def test_every_command_takes_a_folder_of_any_name(
    name: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder = tmp_path / name
    for words in (
        sampled(folder, tiny),
        ["extend", folder, "--seconds", "0.05"],
        ["undo", folder],
        ["page", folder],
        ["export", folder, "--format", "flac"],
        ["export", folder, "--format", "stems"],
        ["export", folder, tmp_path / f"{name} 2020", "--as", "2020"],
        ["fork", folder, tmp_path / f"{name} fork"],
        ["resume", tmp_path / f"{name} fork"],
    ):
        assert sh("", *words).returncode == 0, words
    rows = json.loads(sh("", "status", "--json", tmp_path).stdout)
    assert str(folder) in {row["song"] for row in rows}


def test_an_encoding_without_the_characters_escapes_them(tiny: Path, tmp_path: Path) -> None:
    assert sh("", *sampled(tmp_path / "歌", tiny), "--until", "level_2").returncode == 0
    done = sh("", "status", tmp_path / "歌", environment={"PYTHONIOENCODING": "latin-1"})
    assert done.stdout.startswith(f"{tmp_path}/\\u6b4c  ".encode())


@pytest.mark.parametrize("option", ["artist", "genre", "lyrics"])
def test_text_that_is_not_utf8_is_refused(option: str, tiny: Path, tmp_path: Path) -> None:
    done = sh("", *sampled(tmp_path / "song", tiny), f"--{option}", os.fsdecode(b"Beyonc\xe9"))
    assert done.returncode == 1
    assert done.stderr == f"jukebox-kit: --{option} must be in UTF-8, not 'Beyonc\\udce9'.\n".encode()
    assert not (tmp_path / "song").exists()


def test_a_current_folder_that_was_deleted_is_named(tmp_path: Path) -> None:
    command = 'mkdir gone; cd gone; rmdir ../gone; "$@"'
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        ["bash", "-c", command, "bash", *PROGRAM, "sample", "song"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "jukebox-kit: the current folder was deleted; change to another one.\n"


def test_commands_to_paste_are_quoted(run: Run, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my song"
    assert run(*sampled(folder, tiny), "--until", "level_2").returncode == 0
    assert f"continue with: jukebox-kit resume '{folder}'\n" in run("extend", folder, "--seconds", "0.1").stdout
    assert f"jukebox-kit visit '{folder}' VERSION\n" in run("tree", folder).stdout


def test_a_mount_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"30 1 0:1 / {tmp_path}/Müsik\\040caf".encode() + b"\xe9 rw - fuse.drive drive rw\n"
    monkeypatch.setattr(Path, "read_bytes", lambda _: b"1 0 0:1 / / rw - ext4 /dev/a rw\n" + line)
    assert file_system(tmp_path / os.fsdecode("Müsik caf".encode() + b"\xe9") / "song") == "fuse.drive"
    assert file_system(tmp_path) == "ext4"


ENDINGS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


def slowly_imported(folder: Path, code: str) -> dict[str, str]:
    """Return an environment in which a module that the commands import is replaced by this code."""
    (folder / "numpy.py").write_text(f"import os, signal, time\nopen({str(folder / 'began')!r}, 'w').close()\n{code}")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize(("number", "code"), ENDINGS)
@pytest.mark.parametrize(
    "module",
    [
        "time.sleep(60)",
        "try:\n    time.sleep(60)\nexcept BaseException:\n    raise ImportError('cannot import torch')",
        "class Slow:\n    exec('time.sleep(60)', globals())",
        "try:\n    time.sleep(60)\nexcept BaseException:\n    pass",
    ],
    ids=["plain", "turned into ImportError", "in exec", "swallowed"],
)
def test_a_signal_while_torch_is_imported_is_one_line(
    number: signal.Signals, code: int, module: str, tmp_path: Path
) -> None:
    environment = slowly_imported(tmp_path, module)
    command = [*PROGRAM, "sample", str(tmp_path / "song")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    while process.poll() is None and not (tmp_path / "began").exists():
        time.sleep(0.01)
    process.send_signal(number)
    out, said = process.communicate(timeout=30)
    assert (process.returncode, out, said) == (code, "", "jukebox-kit: interrupted.\n")
    assert not (tmp_path / "song").exists()


def test_an_ignored_hangup_stays_ignored(tmp_path: Path) -> None:
    environment = slowly_imported(tmp_path, "os.kill(os.getpid(), signal.SIGHUP)\nos._exit(7)")
    command = ["bash", "-c", 'trap "" HUP; exec "$@"', "bash", *PROGRAM, "sample", str(tmp_path / "song")]
    assert subprocess.run(command, env=environment, check=False).returncode == 7


def test_a_closed_terminal_saves_the_song(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "song"
    command = [*PROGRAM, *map(str, sampled(folder, tiny)), "--seconds", "30", "--save-every", "0.2"]
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    while process.poll() is None and not (folder / "level_1" / "codes.safetensors").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    os.close(master)
    assert process.wait(60) == 130
    assert Song.open(folder).status()[1].done > 0


def test_ctrl_c_as_an_album_starts_is_no_traceback(tiny: Path, tmp_path: Path) -> None:
    """The terminal sends it to every process of the group, of which the workers are still importing."""
    songs = "songs: [{name: a, artist: unknown, genre: unknown, seconds: 20}]"
    (tmp_path / "album.yaml").write_text(f"folder: {tmp_path}/songs\ndefaults: {{model: {tiny}}}\n{songs}\n")
    command = [*PROGRAM, "album", str(tmp_path / "album.yaml"), "--device", "cpu"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while process.poll() is None and not list(tmp_path.glob("songs/**/rank_0.json")):
        time.sleep(0.01)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_ctrl_c_at_a_question_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import typer

    def asked(*_: object) -> None:
        raise typer.Abort

    monkeypatch.setattr("jukebox_kit.song.interop.import_songs", asked)
    assert shell(monkeypatch, "import", tmp_path, tmp_path / "songs") == 130
    assert capsys.readouterr().err == "jukebox-kit: interrupted.\n"


UNSUPPORTED = ["mps", "xpu", "meta", "nonsense", "", "cpu:3", "cuda:-1", "CPU", "cuda,cpu", "歌"]


@pytest.mark.parametrize("device", UNSUPPORTED)
def test_an_unsupported_device_is_refused_before_anything_is_written(
    device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["sample", "song"], ["album", "album.yaml"], ["bench", "--plan", "demo"], ["overnight", "songs"]):
        monkeypatch.setattr(sys, "argv", ["jukebox-kit", *words, "--device", device])
        assert exit_code() == 1
        said = capsys.readouterr().err
        assert said == (
            f"jukebox-kit: the device {device or repr('')} is not supported; choose cpu, cuda or cuda:N, or omit it.\n"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("device", [*UNSUPPORTED, 3, True, 0, torch.device("meta"), torch.device("mps"), object()])
def test_an_unsupported_device_from_python(device: object) -> None:
    for use in (
        lambda: RunSettings(device=device),  # type: ignore[arg-type]
        lambda: Model.load("demo", device),  # type: ignore[arg-type]
        lambda: plan_memory(load_definition("demo"), 4.0, 1, device),  # type: ignore[arg-type]
    ):
        with pytest.raises(RequestError, match="is not supported; choose cpu, cuda or cuda:N, or omit it") as caught:
            use()
        assert caught.value.field == "device"


def test_a_gpu_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RequestError, match="there is no GPU that torch can use; omit the device or choose cpu"):
        load_for("demo", 4.0, 1, RunSettings(device="cuda:99"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(RequestError, match=r"there is no GPU cuda:99; this machine has cuda:0, cuda:1\."):
        load_for("demo", 4.0, 1, RunSettings(device="cuda:99"))


def test_only_the_first_error_of_a_stream_is_kept() -> None:
    sink = streams.Sink(1)
    sink.descriptor = os.open("/dev/full", os.O_WRONLY)
    assert sink.write(b"abc") == 3
    os.close(sink.descriptor)
    assert sink.write(b"abcd") == 4
    assert "no space left on device" in sink.lost

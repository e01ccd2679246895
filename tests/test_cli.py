"""The shell: what it prints, and that bad input gets one sentence and leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from jukebox_kit.errors import RequestError
from jukebox_kit.song import Song
from jukebox_kit.steps import RunSettings
from tests.conftest import Run, shell

BAD: list[tuple[list[str], str]] = [
    (["--model", "2b"], r"there is no model 2b; known are 1b_lyrics, 5b"),
    (["--model", "x.yaml"], r"there is no model file x.yaml"),
    (["--seconds", "0"], r"--seconds must be above 0"),
    (["--seconds", "-3"], r"--seconds must be above 0"),
    (["--seconds", "nan"], r"--seconds must be a number, not nan"),
    (["--seconds", "0.001"], r"less than one token"),
    (["--seconds", "500"], r"outside this model's range: choose at least 8 and under 32 seconds"),
    (["--total-seconds", "0"], r"choose at least 8 and under 32 seconds"),
    (["--total-seconds", "4"], r"choose at least 8 and under 32 seconds"),
    (["--total-seconds", "9", "--seconds", "10"], r"less than the 10 seconds to sample"),
    (["--temperature", "0"], r"--temperature must be above 0"),
    (["--temperature", "-1"], r"--temperature must be above 0"),
    (["--temperature", "1,2"], r"--temperature takes one number, or three"),
    (["--temperature", "hot"], r"--temperature takes one number, or three"),
    (["--top-k", "0"], r"--top-k must be at least 1"),
    (["--top-p", "2"], r"--top-p must be above 0 and at most 1"),
    (["--top-k", "5", "--top-p", "0.9"], r"--top-k cannot be combined with top-p"),
    (["--hop-fraction", "0.5"], r"--hop-fraction takes three numbers"),
    (["--hop-fraction", "0.5,0.5,0"], r"--hop-fraction must be above 0"),
    (["--items", "0"], r"--items must be from 1"),
    (["--seed", "-1"], r"--seed must be a whole number"),
    (["--lyrics-file", "nowhere.txt"], r"there is no lyrics file nowhere.txt"),
    (["--lyrics", "a", "--lyrics-file", "b"], r"exclude each other"),
    (["--prompt", "nowhere.wav"], r"there is no recording"),
    (["--prompt-seconds", "2"], r"--prompt-seconds needs a prompt"),
    (["--artist", "The Flute", "--strict"], r"unknown to the v3 labels.*the nearest are the flutes"),
    (["--device", "gpu"], r"the device gpu is not supported; choose cpu, cuda or cuda:N"),
    (["--save-every", "-1"], r"--save-every must be 0 or more seconds, not -1"),
    (["--until", "level_3"], r"there is no level_3; until takes"),
    (["--model", "1b_lyrics"], r"not on this machine; put the file in one of"),
]


@pytest.mark.parametrize(("options", "sentence"), BAD, ids=[" ".join(options) for options, _ in BAD])
def test_bad_requests(
    options: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["jukebox-kit", "sample", "song", *options])
    code = exit_code()
    said = capsys.readouterr()
    assert code == 1
    assert re.fullmatch(rf"jukebox-kit: .*{sentence}.*\n", said.err)
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


def exit_code() -> int:
    from jukebox_kit.cli.app import main

    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_wrong_usage_is_2(run: Run, tmp_path: Path) -> None:
    assert run("sample", tmp_path / "song", "--seconds", "long").returncode == 2
    assert run("sing").returncode == 2
    assert not (tmp_path / "song").exists()


def test_a_folder_with_something_else_is_refused(run: Run, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = run("sample", tmp_path, "--model", tiny)
    assert done.returncode == 1
    assert "contains files that do not belong to a song; choose another folder" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    done = run("resume", tmp_path)
    assert done.returncode == 1
    assert "is not a song folder" in done.stderr


def test_a_folder_that_cannot_be_written(run: Run, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    places = [tmp_path / "file" / "song"]
    if os.geteuid():  # permissions do not stop root
        (tmp_path / "closed").mkdir(mode=0o500)
        places.append(tmp_path / "closed" / "song")
    for place in places:
        done = run("sample", place, "--model", tiny)
        assert done.returncode == 1
        assert re.fullmatch(r"jukebox-kit: .* could not be written: .*\.\n", done.stderr)


def test_a_checkpoint_of_another_part_is_refused_before_anything_is_written(
    run: Run, tiny: Path, tmp_path: Path
) -> None:
    for file in tiny.parent.iterdir():
        name = {"level_0.safetensors": "level_1.safetensors"}.get(file.name, file.name)
        if file.name != "level_1.safetensors":
            (tmp_path / name).write_bytes(file.read_bytes())
    (tmp_path / "level_0.safetensors").write_bytes((tmp_path / "vqvae.safetensors").read_bytes())
    done = run("sample", tmp_path / "song", "--model", tmp_path / "tiny.yaml")
    assert done.returncode == 1
    assert re.fullmatch(
        r"jukebox-kit: .*level_0.safetensors is the checkpoint of another component or model: .*\n", done.stderr
    )
    assert not (tmp_path / "song").exists()


def test_unknown_artist_goes_on_after_saying_so(run: Run, tiny: Path, tmp_path: Path) -> None:
    done = run("sample", tmp_path / "song", "--model", tiny, "--artist", "The Beetles", "--seconds", "0.1")
    assert done.returncode == 0
    assert "unknown to the v3 labels and counts as unknown; the nearest are the beatles" in done.stderr
    assert done.stdout.splitlines()[0] == str(tmp_path / "song" / "level_0" / "item_0.wav")


def test_progress_is_shown_for_each_level(run: Run, tiny: Path, tmp_path: Path) -> None:
    done = run("sample", tmp_path / "song", "--model", tiny, "--seconds", "0.3")
    for level, tokens in ((2, 37), (1, 148), (0, 592)):
        assert re.search(rf"level {level}: 100%.*{tokens}/{tokens} .*tokens/s", done.stderr)


def test_ctrl_c_saves_and_is_130(tiny: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "song"
    command = [sys.executable, "-m", "jukebox_kit", "sample", str(folder), "--model", str(tiny), "--seconds", "30"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while process.poll() is None and not (folder / "level_2" / "item_0.wav").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped. Everything is saved; resume with: jukebox-kit resume" in said
    assert "Traceback" not in said
    assert run("resume", folder, "--until", "level_1").returncode == 0


def test_status(run: Run, tiny: Path, tmp_path: Path) -> None:
    run("sample", tmp_path / "songs" / "a", "--model", tiny, "--seconds", "0.1", "--until", "level_2")
    done = run("status", tmp_path / "songs", "--json")
    levels = json.loads(done.stdout)[0]["levels"]
    assert levels["level_2"] == {"done": 12, "total": 12}
    assert levels["level_0"] == {"done": 0, "total": 192}
    assert "level_2 100%" in run("status", tmp_path / "songs").stdout
    assert run("status", tmp_path / "nowhere").returncode == 1


def test_names_and_models(run: Run, tiny: Path) -> None:
    assert run("artists", "beat", "--model", tiny).stdout == "the beatles\n"
    assert json.loads(run("genres", "--model", tiny, "--json").stdout) == {"v3": ["country", "pop", "unknown"]}
    assert run("artists", "nobody", "--model", tiny).returncode == 1
    rows = {row["name"]: row for row in json.loads(run("models", "--json").stdout)}
    assert rows["demo"]["missing"] == []
    assert (rows["1b_lyrics"]["shortest"], rows["5b"]["shortest"]) == (17.84, 60.0)


def test_doctor(run: Run, tmp_path: Path) -> None:
    found = json.loads(run("doctor", tmp_path, "--json").stdout)
    assert found["demo"] == "ready"
    assert "writable" in found["disk"]
    assert "GiB free at" in found["models"]


def test_help_shows_the_commands_in_groups_without_importing_what_samples(run: Run) -> None:
    done = run("--help")
    headings = ["Make", "Shape", "Listen and export", "Models", "Check"]
    places = [done.stdout.index(f"─ {heading} ") for heading in headings]
    assert places == sorted(places)
    models = done.stdout[places[3] : places[4]]
    assert models.index("models") < models.index("artists") < models.index("genres") < models.index("train")
    assert imported("--help") == set()


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("jukebox_kit.cli.app.version", lambda name: f"{name} 1.2.3")
    assert shell(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == "jukebox_kit 1.2.3\n"

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("jukebox_kit.cli.app.version", missing)
    assert shell(monkeypatch, "--version") == 0
    assert "not installed" in capsys.readouterr().out


def imported(*words: object) -> set[str]:
    """Return which of torch and numpy a command imports; AssertionError if it fails."""
    code = (
        "import sys\n"
        "from jukebox_kit.__main__ import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print('imported', *({'torch', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_older_names_of_options_work_and_are_not_listed(run: Run, tiny: Path, tmp_path: Path) -> None:
    listed = run("sample", "--help").stdout
    for name, older in (("--precision", "--weights"), ("--batch-size", "--batch "), ("--chunks", "--pieces")):
        assert name in listed
        assert older not in listed
    words = ("--seconds", "0.1", "--until", "level_2", "--weights", "float16", "--batch=2", "--pieces", "1,2")
    assert run("sample", tmp_path / "song", "--model", tiny, "--device", "cpu", *words).returncode == 0
    kept = json.loads((tmp_path / "song" / "song.json").read_text())
    assert kept["runs"]["2"]["weights"] == "float16"
    assert kept["request"]["chunks"] == [1, 2]
    assert "--weights" not in run("bench", "--help").stdout


@pytest.mark.parametrize("source", ["file", "standard input"])
def test_lyrics_come_from_a_file_or_standard_input(
    source: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = tmp_path / "words.txt"
    words.write_bytes("\ufeffla la\r\nl\u00e0 e\u0301\n".encode())
    where = str(words) if source == "file" else "-"

    def call(*arguments: object) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(words.read_bytes())))
        assert shell(monkeypatch, *arguments, "--lyrics-file", where) == 0

    song, other = tmp_path / "song", tmp_path / "other"
    call("sample", song, "--model", tiny, "--seconds", 0.3, "--total-seconds", 4, "--until", "level_2")
    assert Song.open(song).request.lyrics == "la la\nl\u00e0 e\u0301\n"
    assert not any("characters of the lyrics" in note for note in Song.open(song).resolved.notes)
    words.write_text("so")
    call("extend", song, "--seconds", 0.2)
    call("fork", song, other)
    assert (Song.open(song).request.lyrics, Song.open(other).request.lyrics) == ("so", "so")


@pytest.mark.parametrize(
    "stdin", [None, io.TextIOWrapper(io.BytesIO(b"l\x00a\x00"))], ids=["closed", "UTF-16 without its mark"]
)
def test_standard_input_without_text_is_refused(
    stdin: io.TextIOWrapper | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert shell(monkeypatch, "sample", tmp_path / "song", "--lyrics-file", "-") == 1
    assert "standard input" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [{"save_every": -1.0}, {"preview_every": float("nan")}, {"batch_size": 0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    name = next(iter(wrong)).replace("_", "[-_]")
    with pytest.raises(RequestError, match=f"^{name} must be .*\\.$"):
        RunSettings(**wrong)  # type: ignore[arg-type]


def test_an_interrupt_at_the_very_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "jukebox_kit", "status", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "jukebox-kit: interrupted.\n")


def test_an_interrupt_outside_of_sampling_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jukebox_kit.song.find_songs", interrupted)
    monkeypatch.setattr(sys, "argv", ["jukebox-kit", "status", str(tmp_path)])
    assert exit_code() == 130
    assert capsys.readouterr().err == "jukebox-kit: interrupted.\n"


def test_commands_that_sample_nothing_do_without_torch(run: Run, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "song"
    assert run("sample", folder, "--model", tiny, "--seconds", "0.1", "--until", "level_2").returncode == 0
    for words in (("status", folder), ("tree", folder), ("models",), ("artists", "--model", tiny), ("genres",)):
        assert "torch" not in imported(*words), words

"""Not a test: `python -m tests.features_kills FOLDER` kills the features of a folder of 200 recordings, three times.

Among the recordings are a corrupt, a silent and an empty one, one of 10 seconds and one of two hours. At the end every
output must be equal to that of a run that nothing interrupted, and no output may have been written twice.
"""

from __future__ import annotations

import argparse
import csv
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile
from safetensors.torch import save_file
from torch import nn

from jukebox_kit.model import VQVAE, Prior
from jukebox_kit.model.weights import PARTS, load_definition, recipe_state
from tests.conftest import TINY

RECORDINGS, RATE = 200, 8000

KILLED_AT = (60, 130, 196)  # outputs; the last is two hours long

ODD = ("corrupt.flac", "silent.wav", "empty.wav", "ten_seconds.wav", "two_hours.wav")


def write_music(folder: Path) -> None:
    """Write the recordings."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(RECORDINGS - len(ODD)):
        audio = rng.uniform(-0.3, 0.3, int(RATE * rng.uniform(5, 30)))
        soundfile.write(folder / f"{number:03d}.wav", audio, RATE, "PCM_16")
    (folder / "corrupt.flac").write_bytes(b"fLaC" + bytes(5000))
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE, "PCM_16")
    soundfile.write(folder / "ten_seconds.wav", rng.uniform(-0.3, 0.3, 10 * RATE), RATE, "PCM_16")
    with soundfile.SoundFile(folder / "two_hours.wav", "w", RATE, 1, "PCM_16") as file:
        for _ in range(120):
            file.write(rng.uniform(-0.3, 0.3, 60 * RATE))


def write_model(folder: Path) -> Path:
    """Write the tiny model of the tests."""
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "artists.txt").write_text("unknown;0\n")
    (folder / "genres.txt").write_text("unknown;0\n")
    definition = load_definition(folder / "tiny.yaml")
    parts: list[nn.Module] = [VQVAE(definition.vqvae), *(Prior(p, definition.vqvae) for p in definition.priors)]
    for name, part in zip(PARTS, parts, strict=True):
        state = {key: value.contiguous() for key, value in recipe_state(part).items()}
        save_file(state, folder / f"{name}.safetensors")
    return folder / "tiny.yaml"


def begin(music: Path, out: Path, model: Path) -> subprocess.Popen[bytes]:
    """Start the command."""
    command = [sys.executable, "-m", "jukebox_kit", "features", str(music), str(out), "--model", str(model)]
    command += ["--layers", "2,4", "--batch-size", "16", "--device", "cpu", "--precision", "float32"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def marks(out: Path) -> dict[str, tuple[int, int]]:
    """Return the inode and the time of each output."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("*.npy")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder.absolute()
    write_music(folder / "music")
    model, out, whole = write_model(folder / "model"), folder / "out", folder / "whole"
    begin(folder / "music", whole, model).wait()
    seen, rng = dict[str, tuple[int, int]](), random.Random(0)
    for count in KILLED_AT:
        process = begin(folder / "music", out, model)
        while len(marks(out)) < count and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen |= marks(out)
        sys.stdout.write(f"killed with {len(seen)} recordings done\n")
    begin(folder / "music", out, model).wait()
    now, names = marks(out), sorted(path.name for path in whole.glob("*.npy"))
    twice = [name for name, mark in seen.items() if now.get(name) != mark]
    different = [name for name in names if (out / name).read_bytes() != (whole / name).read_bytes()]
    with (out / "manifest.csv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    for name in ODD:
        row = rows[name]
        sys.stdout.write(f"{name}: {row['status']}, {row['seconds']} s, {row['frames']} frames. {row['note']}\n")
    sys.stdout.write(f"{len(rows)} rows, {len(now)} outputs, {len(different)} different, {len(twice)} written twice\n")
    sys.exit(0 if len(rows) == RECORDINGS and sorted(now) == names and not different and not twice else 1)


if __name__ == "__main__":
    main()

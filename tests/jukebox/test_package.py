"""The jukebox package as an engine: its tables, its VQ-VAE on a CPU, and its priors as far as they go without CUDA.

Run with `python -m pytest -m jukebox tests/jukebox` where jukebox-infer or jukebox is installed. What the package
asserts of CUDA is one thing, the type of its tokens; with that name standing for a CPU's tokens all of it runs here.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import jukebox_kit as jk
from jukebox_kit.checks.verify.compare import compare_engines
from jukebox_kit.checks.verify.golden import Golden
from jukebox_kit.checks.verify.parts import check_vqvae
from jukebox_kit.checks.verify.run import verify_folder
from jukebox_kit.checks.verify.songs import check_labels
from jukebox_kit.engine import placement
from jukebox_kit.engine.decoders import make_decoder
from jukebox_kit.engine.model import Model, of_package
from jukebox_kit.engine.original import JukeboxDecoder, JukeboxPrior, JukeboxVQVAE, package
from jukebox_kit.engine.placement import Placement
from jukebox_kit.errors import CheckpointError, RequestError, StoppedError
from jukebox_kit.model import LEVELS
from jukebox_kit.model.weights import PACKAGES
from jukebox_kit.model.weights.blank import blank_prior
from jukebox_kit.model.weights.checkpoint import recipe_state
from jukebox_kit.model.weights.definition import load_definition
from jukebox_kit.song.lyrics.alignment import align
from jukebox_kit.song.song import Song
from tests.conftest import GOLDEN, shell, small_prior
from tests.test_song import REQUEST

pytestmark = pytest.mark.jukebox
CPU = torch.device("cpu")
ENGINES = ("fast", "jukebox")


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package take a CPU's tokens for a GPU's, and the engine be asked for here."""
    monkeypatch.setattr(torch.cuda, "LongTensor", torch.LongTensor)
    monkeypatch.setattr(placement, "GPU_ONLY", {})


@pytest.fixture(scope="module")
def ordered(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny model with a top prior whose attention has one of the release's orders, as the package needs."""
    folder = tmp_path_factory.mktemp("ordered")
    shutil.copytree(tiny.parent, folder, dirs_exist_ok=True)
    text = (folder / "tiny.yaml").read_text()
    text = text.replace("prior_depth: 4", "prior_depth: 16").replace("alignment_layer: 3", "alignment_layer: 15")
    (folder / "tiny.yaml").write_text(text.replace("[row, column, previous_row, prime]", "12"))
    definition = load_definition(folder / "tiny.yaml")
    state = recipe_state(blank_prior(definition, 2))
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "level_2.safetensors")
    return folder / "tiny.yaml"


def test_the_package_is_found_and_its_tables_give_the_recorded_labels() -> None:
    spec = importlib.util.find_spec(package())
    assert spec is not None
    assert spec.origin is not None
    entries = list(check_labels(GOLDEN, Path(spec.origin).parent / "data" / "ids"))
    assert len(entries) > 10
    assert all(entry.ok for entry in entries)


def test_its_vqvae_gives_the_recorded_codes_and_audio_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "GPU_ONLY", {})
    golden = Golden.read(GOLDEN, Placement(CPU, "float32", "jukebox"))
    for from_file in (False, True):
        assert type(golden.vqvae(from_file)) is JukeboxVQVAE
        entries = list(check_vqvae(golden, from_file))
        assert len(entries) == 9
        assert [str(entry) for entry in entries if not entry.ok] == []


def test_what_it_asserts_of_cuda_is_what_we_say_of_it() -> None:
    plain = small_prior()
    theirs = JukeboxPrior(plain.config, plain.vqvae, recipe_state(plain), CPU, halved=False)
    with pytest.raises(AssertionError, match=r"torch\.cuda\.LongTensor"):
        theirs.condition(torch.zeros(1, 5, dtype=torch.long))
    with pytest.raises(RequestError, match="needs a GPU, since the package asserts at every token that it is a CUDA"):
        Model.load("demo", "cpu", engine="jukebox")


@pytest.mark.usefixtures("without_cuda")
def test_its_priors_give_all_recorded_numbers() -> None:
    entries = list(verify_folder(GOLDEN, None, "cpu", "float32", "jukebox"))
    assert len(entries) > 100
    assert [str(entry) for entry in entries if not entry.ok] == []


@pytest.mark.usefixtures("without_cuda")
def test_a_song_of_one_seed_is_the_same_song(ordered: Path, tmp_path: Path) -> None:
    made = list[Song]()
    for engine in ENGINES:
        model = Model.load(ordered, "cpu", "float32", engine)
        song, asked = Song.create(tmp_path / engine, model, model=str(ordered), items=2, **REQUEST), list[int]()

        def stop(asked: list[int] = asked) -> bool:
            asked.append(1)
            return len(asked) > 90

        with pytest.raises(StoppedError):  # in level 1, where it goes on
            jk.sample(song, model=model, run=jk.RunSettings(stop=stop))
        made.append(jk.sample(Song.open(song.root), model=model))
    for level in LEVELS:
        assert np.array_equal(made[0].codes(level), made[1].codes(level))
    assert {run["engine"] for run in made[1].manifest.runs.values()} == {"jukebox"}
    heard = [
        align(song.state, 1, Model.load(ordered, "cpu", "float32", engine).top)
        for song, engine in zip(made, ENGINES, strict=True)
    ]
    assert np.allclose(heard[0].weights, heard[1].weights, atol=1e-5)
    for item in range(2):
        assert np.allclose(made[0].audio(0, item), made[1].audio(0, item), atol=1e-5)


@pytest.mark.usefixtures("without_cuda")
def test_engines_are_compared_part_by_part(ordered: Path) -> None:
    entries = {entry.name: entry for entry in compare_engines(str(ordered), "fast,jukebox", "cpu", "float32")}
    assert [str(entry) for entry in entries.values() if not entry.ok] == []
    assert {f"level_{level}.{what}" for level in LEVELS for what in ("logits", "tokens")} < entries.keys()
    assert entries["level_2.tokens"].found == "56 of 56 agree"
    with pytest.raises(RequestError, match=r"two of the engines fast, .* not 'fast'"):
        list(compare_engines(str(ordered), "fast", "cpu", "float32"))


@pytest.mark.usefixtures("without_cuda")
def test_nothing_is_printed_and_nothing_left_behind(capfd: pytest.CaptureFixture[str]) -> None:
    plain = small_prior()
    decoder = make_decoder(
        of_package(plain, recipe_state(plain), Placement(CPU, "float32", "jukebox")), 1, Placement(CPU)
    )
    assert isinstance(decoder, JukeboxDecoder)
    out, said = capfd.readouterr()
    assert (out, said) == ("", "")
    assert not torch.distributed.is_initialized()


def test_weights_of_another_part_are_refused() -> None:
    plain = small_prior()
    state = recipe_state(plain)
    state.pop(next(name for name in state if name.endswith("c_fc.w")))
    with pytest.raises(CheckpointError, match=r"cannot load these weights: .*c_fc\.w is not in both"):
        JukeboxPrior(plain.config, plain.vqvae, state, CPU, halved=False)


@pytest.fixture
def under_its_old_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the same modules installed as `jukebox`."""
    spec = importlib.util.find_spec("jukebox_infer")
    if spec is None or spec.origin is None:
        pytest.skip("it is installed under its old name alone")
    there = tmp_path / "jukebox"
    shutil.copytree(Path(spec.origin).parent, there, ignore=shutil.ignore_patterns("__pycache__"))
    for file in there.rglob("*.py"):
        file.write_text(file.read_text(encoding="utf-8").replace("jukebox_infer", "jukebox"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name == "jukebox" or name.startswith("jukebox.")]:
        del sys.modules[name]


@pytest.mark.usefixtures("under_its_old_name", "without_cuda")
def test_the_2020_name_is_taken_too() -> None:
    assert package() == "jukebox"
    golden = Golden.read(GOLDEN, Placement(CPU, "float32", "jukebox"))
    vqvae = golden.vqvae()
    assert isinstance(vqvae, JukeboxVQVAE)
    assert type(vqvae.theirs).__module__.startswith("jukebox.")
    assert all(entry.ok for entry in check_vqvae(golden, False))
    assert not torch.distributed.is_initialized()


def test_where_neither_is_installed_the_install_line_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name in PACKAGES else find(name))
    with pytest.raises(RequestError, match=r'pip install "jukebox_kit\[jukebox\]"'):
        package()
    words = ("sample", tmp_path / "song", "--device", "cpu", "--weights", "float32", "--engine", "jukebox")
    assert shell(monkeypatch, *words) == 1
    assert "needs a GPU" in capsys.readouterr().err
    monkeypatch.setattr(placement, "GPU_ONLY", {})  # as where there is one
    assert shell(monkeypatch, *words) == 1
    assert 'pip install "jukebox_kit[jukebox]"' in capsys.readouterr().err
    assert not (tmp_path / "song").exists()

"""The command that generates recordings with other models: one call of the library."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from jukebox_kit._files import shown_path
from jukebox_kit.cli.options import Device, command_line
from jukebox_kit.cli.signals import STOPPED


def generate(
    out: Annotated[Path, typer.Argument(help="The audio file to write: wav, flac or mp3. Several are numbered.")],
    source: Annotated[str, typer.Option(help="The kind of model; musicgen is the only one so far.")] = "musicgen",
    text: Annotated[
        list[str] | None, typer.Option(help="What to play (repeatable). Without it, the model plays what it likes.")
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="A recording to begin with and continue.")] = None,
    audio_seconds: Annotated[
        float | None, typer.Option(help="Seconds of it to use, from its start.", show_default="all")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Length of each recording in seconds, including --audio.")] = 12.0,
    items: Annotated[int, typer.Option(help="Recordings of each text.")] = 1,
    seed: Annotated[int, typer.Option(help="Random seed of item 0; item 1 has the next number, and so on.")] = 0,
    greedy: Annotated[bool, typer.Option(help="Always take the most likely token instead of sampling.")] = False,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.")] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Sample from the K most likely tokens.", show_default="250, or all with --top-p")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the most likely tokens whose probabilities add up to P.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How strongly to follow the text; 1 for no guidance.", show_default="3")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="facebook/musicgen-small, -medium, -large, -melody, -stereo-small and so on, or a folder.",
            show_default="facebook/musicgen-small",
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Items at a time: more are faster, and rounding may then change a token.")
    ] = 1,
    precision: Annotated[str, typer.Option(help="Weight precision: float32, float16 (GPU only), or auto.")] = "auto",
    device: Device = None,
) -> None:
    """Generate recordings with another model, by text, as prompts for songs. Needs jukebox_kit[musicgen]."""
    from jukebox_kit.cli.progress import CountBar
    from jukebox_kit.errors import StoppedError
    from jukebox_kit.sources import SourceRequest, SourceRun, generate_recordings

    texts = tuple(text or ())
    request = SourceRequest(
        texts,
        seconds,
        audio,
        audio_seconds,
        items,
        seed,
        greedy,
        temperature,
        top_k,
        top_p,
        guidance,
        model,
    )
    try:
        with CountBar("tokens") as bar:
            run = SourceRun(device, precision, batch_size, bar.show, None, _say, _print)
            paths = generate_recordings(out, request, source, run)
    except (KeyboardInterrupt, StoppedError):
        typer.echo("jukebox-kit: stopped. What had been generated is saved.", err=True)
        raise typer.Exit(STOPPED) from None
    hint = command_line("sample", "songs/NAME", "--prompt", shown_path(paths[0]))
    typer.echo(f"start a song with it: {hint}", err=True)


def _say(sentence: str) -> None:
    from tqdm import tqdm

    tqdm.write(f"note: {sentence}", file=sys.stderr)  # which moves the progress bar out of the way


def _print(path: Path) -> None:
    from tqdm import tqdm

    tqdm.write(shown_path(path), file=sys.stdout)

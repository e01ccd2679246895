"""The shell's `import`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from jukebox_kit.errors import RequestError


def import_old(
    place: Annotated[Path, typer.Argument(help="A run's folder, a file (.pth.tar, .t, .z), or a folder of such.")],
    target: Annotated[Path, typer.Argument(help="The song's folder, or the folder for several songs.")],
    model: Annotated[str | None, typer.Option(help="The model to go on with; files with labels tell it.")] = None,
    artist: Annotated[str | None, typer.Option(help="Where the files do not say, or for one song, instead.")] = None,
    genre: Annotated[str | None, typer.Option(help="As artist.")] = None,
    lyrics: Annotated[str | None, typer.Option(help="As artist.")] = None,
    lyrics_file: Annotated[Path | None, typer.Option(help="A text file with the lyrics.")] = None,
    seconds: Annotated[float | None, typer.Option(help="How long the song is to be; as long as level 2 is.")] = None,
    total_seconds: Annotated[float | None, typer.Option(help="How long the model believes the song to be.")] = None,
    seed: Annotated[int, typer.Option(help="For what is sampled from here on.")] = 0,
) -> None:
    """Go on with what other programs made: runs of 2020, co-composer and web UI files, or a whole folder of them."""
    from jukebox_kit.old.into_songs import Answers, import_songs
    from jukebox_kit.request import read_lyrics

    if lyrics is not None and lyrics_file:
        raise RequestError("lyrics and lyrics-file exclude each other; give one of them.")
    words = read_lyrics(lyrics_file) if lyrics_file else lyrics
    answers = Answers(model, artist, genre, words, seconds, total_seconds, seed)
    failed = 0
    for outcome in import_songs(place, target, answers, _Asking() if sys.stdin.isatty() else None):
        for note in outcome.notes:
            typer.echo(f"note: {note}", err=True)
        if outcome.song is None:
            failed += 1
            typer.echo(f"jukebox-kit: {outcome.failed}", err=True)
        else:
            levels = "  ".join(f"level_{s.level} {s.done}/{s.total}" for s in outcome.song.status())
            typer.echo(f"{outcome.song.root}  {levels}")
    if failed:
        raise typer.Exit(1)


class _Asking:
    """Asks a person for what files do not say; the last answer is offered again for the next song."""

    def __init__(self) -> None:
        self.last: dict[str, str] = {}

    def __call__(self, what: str, path: Path) -> str:
        """Return the answer to one question; lyrics are asked for as a file."""
        from jukebox_kit.request import read_lyrics

        shown = "file of the lyrics (empty for none)" if what == "lyrics" else what
        default = self.last.get(what, "" if what == "lyrics" else None)
        answer = str(typer.prompt(f"{path} does not say its {what}; {shown}", default=default, err=True))
        self.last[what] = answer
        if what != "lyrics":
            return answer
        return read_lyrics(Path(answer)) if answer else ""

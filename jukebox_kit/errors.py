"""The errors that this package raises on purpose. Each message is one sentence that says what to do next.

An error about one setting, such as a field of `Request` or of `RunSettings`, names it in `field`, so that a form, a
YAML file or the command line can point at the place where the user entered it.

JukeboxKitError
 ├─ RequestError        a request, an option or an argument that cannot be used
 ├─ ConfigurationError  a YAML file or a hyperparameter is wrong
 ├─ CheckpointError     a weights file is missing, damaged, unsafe, or belongs to another component
 ├─ LabelError          a name, a lyric or a length that the model cannot take
 ├─ AudioError          a recording that cannot be read or used
 └─ SongError           a song folder that cannot be opened, written or continued
     ├─ SongBusyError   another process is working on the song
     └─ StoppedError    the user stopped it; everything is saved
"""

from __future__ import annotations


class JukeboxKitError(Exception):
    """Base of all errors that a user can fix.

    field: the Python name of the setting that the error is about, such as "top_k"; None if there is no such setting.
    """

    def __init__(self, *args: object, field: str | None = None) -> None:
        super().__init__(*args)
        self.field = field


class RequestError(JukeboxKitError):
    """A request, an option or an argument that cannot be used."""


class ConfigurationError(JukeboxKitError):
    """A YAML file or a hyperparameter is wrong."""


class CheckpointError(JukeboxKitError):
    """A weights file is missing, damaged, unsafe, or belongs to another component."""


class LabelError(JukeboxKitError):
    """A name, a lyric or a length that the model cannot take."""


class AudioError(JukeboxKitError):
    """A recording that cannot be read or used."""


class SongError(JukeboxKitError):
    """A song folder that cannot be opened, written or continued."""


class SongBusyError(SongError):
    """Another process is working on the song."""


class StoppedError(SongError):
    """The user stopped it; everything is saved, and the song can be resumed."""

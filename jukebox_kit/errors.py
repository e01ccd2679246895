"""Everything this package raises on purpose. Each message is one sentence that says what to do next.

JukeboxKitError
 ├─ RequestError        what was asked for cannot be done as asked
 ├─ ConfigurationError  a YAML file or a hyperparameter is wrong
 ├─ CheckpointError     a weights file is missing, damaged, unsafe, or belongs to another part
 ├─ LabelError          a name, a lyric or a length that the model cannot take
 ├─ AudioError          a recording that cannot be read or used
 └─ SongError           a song folder that cannot be opened, written or continued
     ├─ SongBusyError   another process is working on the song
     └─ StoppedError    a person asked for it; everything is saved
"""

from __future__ import annotations


class JukeboxKitError(Exception):
    """Base of all errors that a user can mend."""


class RequestError(JukeboxKitError):
    """What was asked for cannot be done as asked."""


class ConfigurationError(JukeboxKitError):
    """A YAML file or a hyperparameter is wrong."""


class CheckpointError(JukeboxKitError):
    """A weights file is missing, damaged, unsafe, or belongs to another part."""


class LabelError(JukeboxKitError):
    """A name, a lyric or a length that the model cannot take."""


class AudioError(JukeboxKitError):
    """A recording that cannot be read or used."""


class SongError(JukeboxKitError):
    """A song folder that cannot be opened, written or continued."""


class SongBusyError(SongError):
    """Another process is working on the song."""


class StoppedError(SongError):
    """A person asked for it; everything is saved, and the song goes on where it was."""

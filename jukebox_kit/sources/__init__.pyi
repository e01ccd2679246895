from .generate import SOURCES as SOURCES
from .generate import generate_recordings as generate_recordings
from .generate import missing_packages as missing_packages
from .request import SourceRequest as SourceRequest
from .source import Recording as Recording
from .source import Source as Source
from .source import SourceRun as SourceRun

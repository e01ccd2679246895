from .musicgen import open_musicgen as open_musicgen
from .weights import RELEASED as RELEASED

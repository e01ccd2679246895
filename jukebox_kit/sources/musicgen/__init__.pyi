from .musicgen import open_musicgen as open_musicgen

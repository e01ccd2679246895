from .exporting import export_2020 as export_2020
from .importing import ImportOverrides as ImportOverrides
from .importing import import_songs as import_songs

from .dataset import Dataset as Dataset
from .dataset import DatasetSong as DatasetSong
from .prepare import Preparation as Preparation
from .prepare import prepare as prepare
from .recordings import SOUNDS as SOUNDS

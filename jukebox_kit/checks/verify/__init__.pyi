from .compare import compare_engines as compare_engines
from .entries import Entry as Entry
from .published import CLIP_MODEL as CLIP_MODEL
from .published import Released as Released
from .run import verify_folder as verify_folder

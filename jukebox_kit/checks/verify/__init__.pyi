from .compare import compare_engines as compare_engines
from .published import verify_model as verify_model
from .run import verify_folder as verify_folder

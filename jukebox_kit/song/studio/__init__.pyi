from .export import STUDIO_FORMATS as STUDIO_FORMATS
from .export import export_project as export_project

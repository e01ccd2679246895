from .base import Store as Store
from .detect import examine_disk as examine_disk
from .detect import open_store as open_store
from .lease import holder as holder

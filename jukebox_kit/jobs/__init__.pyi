from .queue import ORDERS as ORDERS
from .queue import QueueReport as QueueReport
from .queue import SongOutcome as SongOutcome
from .queue import SongStatus as SongStatus
from .queue import import_old as import_old
from .queue import order as order
from .queue import song_statuses as song_statuses
from .queue import work_through as work_through

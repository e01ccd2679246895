from .queue import ORDERS as ORDERS
from .queue import Outcome as Outcome
from .queue import Report as Report
from .queue import Standing as Standing
from .queue import bring_old as bring_old
from .queue import order as order
from .queue import standings as standings
from .queue import work_through as work_through

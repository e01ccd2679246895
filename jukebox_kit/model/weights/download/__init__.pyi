from .audit import check as check
from .fetch import get as get
from .sources import DownloadOptions as DownloadOptions

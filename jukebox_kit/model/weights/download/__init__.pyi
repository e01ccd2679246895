from .audit import check as check
from .convert import convert as convert
from .disk import require_space as require_space
from .fetch import get as get
from .records import sha256_of as sha256_of
from .single import fetch_file as fetch_file
from .sources import DownloadOptions as DownloadOptions

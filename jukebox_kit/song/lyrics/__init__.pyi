from .alignment import aligned_items as aligned_items
from .alignment import can_align as can_align
from .alignment import read_alignments as read_alignments
from .alignment import try_alignments as try_alignments
from .windows import stretches as stretches

from .alignment import can_align as can_align
from .alignment import read_alignment as read_alignment
from .alignment import try_alignments as try_alignments
from .windows import stretches as stretches

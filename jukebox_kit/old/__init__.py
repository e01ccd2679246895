"""What people already have: songs that other Jukebox programs left on disks and Drives, read in and written back."""

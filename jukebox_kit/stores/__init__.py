"""Stores: how a song's files are kept on each kind of disk, and by one process at a time."""

"""The sections of the panel, top to bottom."""

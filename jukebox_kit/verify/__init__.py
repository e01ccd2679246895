"""Replaying recorded numbers through the code that sampling uses."""

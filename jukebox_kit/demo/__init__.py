"""The demonstration: music the project synthesises itself, and ways of measuring it."""

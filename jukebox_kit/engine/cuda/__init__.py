"""Fast decoding steps on a GPU."""

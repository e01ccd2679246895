"""Fast decoding steps on a CPU."""

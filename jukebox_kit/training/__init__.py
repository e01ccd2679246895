"""A small, plain trainer: the VQ-VAE first, then each prior on the codes it gives."""

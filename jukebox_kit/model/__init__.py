"""The model: VQ-VAE, transformer, conditioning, decoding, weights. Knows nothing of songs."""

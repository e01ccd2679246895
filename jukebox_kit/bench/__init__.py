"""How near decoding comes to what the hardware can do, and how it compares with others, measured side by side."""

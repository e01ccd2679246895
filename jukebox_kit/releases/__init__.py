"""Getting the released files: known places in order, checked on arrival, converted, whole or not at all."""

"""The command line. Commands turn their options into one call of the library."""

"""`python -m jukebox_kit`, the same as `jukebox-kit`."""

from jukebox_kit.cli import main

if __name__ == "__main__":
    main()

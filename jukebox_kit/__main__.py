"""`python -m jukebox_kit`, the same as `jukebox-kit`."""

from jukebox_kit.cli.app import main

if __name__ == "__main__":
    main()

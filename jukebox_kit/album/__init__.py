"""An album: many songs of one file, made on one machine or many."""

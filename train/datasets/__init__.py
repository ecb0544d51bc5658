"""Data sets → uint8 arrays on disk, prepared once: `prepared.prepared_folder` is the way in, one module a data set."""

"""Conversion of datasets to uint8 arrays on disk, once per dataset; the entry point is `prepared.prepared_folder`."""

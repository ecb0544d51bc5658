"""Modules that the server of child processes imports once."""

from fuzz import data_readers, model_readers, result_readers, sandbox, study_readers  # noqa: F401

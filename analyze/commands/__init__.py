"""Commands of `python -m analyze`: one module per command, with PURPOSE and main(arguments)."""

"""Commands of `python -m launch`: one module per command, each with PURPOSE and main(arguments)."""

"""What `python -m launch` can be asked for: one module a command, each with PURPOSE and main(arguments)."""

"""Self-contained HTML pages: sections of blocks and their templates."""

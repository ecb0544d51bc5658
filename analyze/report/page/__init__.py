"""A page that needs nothing but itself: sections of blocks, and how they become HTML."""

"""nginx, and what it serves by itself."""

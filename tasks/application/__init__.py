"""CATMAID as it is installed on the host."""

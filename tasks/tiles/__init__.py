"""Tile sets, and the disks that they lie on."""

"""Certificates: found, signed, got and served."""

"""Disposable Debian hosts on this machine, by podman: for ``make demo`` and the tests.

Nothing here is needed to deploy to a real server.
"""

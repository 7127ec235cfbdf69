"""A rendered file on the host, owned by root."""

from __future__ import annotations

from io import StringIO

from pyinfra.api.operation import OperationMeta
from pyinfra.operations import files


def put(path: str, text: str, what: str, mode: str = "644") -> OperationMeta:
    """Write a file with its owner and mode; ``what`` completes the name "Write ..."."""
    return files.put(
        name=f"Write {what}: {path}",
        src=StringIO(text),
        dest=path,
        user="root",
        group="root",
        mode=mode,
        # Its folder is a package's or an operation's of ours. Made here, a dry run would show no diff.
        create_remote_dir=False,
    )

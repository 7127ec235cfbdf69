"""The security headers as the book has them: written from the list, and compared with it and with what comes."""

from __future__ import annotations

from collections.abc import Iterator

from catmaid_deploy import schema
from catmaid_deploy.tasks.nginx import headers
from testbed.images import ROOT

TABLE = ROOT / "docs/headers.md"
# What the answers differ in, beside the security headers.
OTHERS = ("Cache-Control", "Vary", "Access-Control-Allow-Origin", "Retry-After")
_PLAIN = schema.load({"server_name": "a.org", "instances": [{}]}).sites[0]


def sent() -> dict[str, str]:
    """The security headers of a site whose inventory says nothing of them."""
    return {header.name: header.sent(_PLAIN) for header in headers.SECURITY}


def head() -> str:
    """The page without the lines that a host answers."""
    columns = ["status", "answer", *sent(), *OTHERS]
    return "\n".join(
        (
            "# The headers of every answer",
            "",
            "These come with every answer, with what the inventory says under `headers` and `tls`:",
            "",
            "| header | by default |",
            "|---|---|",
            *(f"| `{name}` | {f'`{value}`' if value else 'none'} |" for name, value in sent().items()),
            "",
            'Asked of a deployed host by a page of an allowed origin; "as set" is the value above:',
            "",
            f"| {' | '.join(columns)} |",
            "|---" * len(columns) + "|",
            "",
        )
    )


def missing() -> Iterator[str]:
    """What the book says of headers and the list doesn't have, and the other way round."""
    rows = [line.split("`")[1] for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    for name in rows:
        if name not in sent():
            yield f"{TABLE.name} says that {name} comes with every answer: SECURITY in tasks/nginx/headers.py has none"
    for name in sent():
        if name not in rows:
            yield f"{TABLE.name} doesn't have {name}: run CATMAID_WRITE=1 pytest tests/unit/test_lists.py"
    for key in schema.Headers.model_fields:
        mark = f"SENT-{key}"
        site = _PLAIN.model_copy(update={"headers": _PLAIN.headers.model_copy(update={key: mark})})
        if not any(mark in header.sent(site) for header in headers.SECURITY):
            yield f"headers.{key} reaches no answer: no header in tasks/nginx/headers.py has it"

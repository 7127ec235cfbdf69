"""Runs on the image ``client``, in /opt/client: one Playwright script with a headless page at hand.

Reads a job as JSON from standard input and prints the script's ``result`` as JSON (see `tests.host.browser`);
ends with 1 and the script's own error on standard error.
"""

import base64
import json
import os
import sys
import traceback

from playwright.sync_api import sync_playwright

# No sandbox: its namespaces aren't for a container; nor is its /dev/shm large enough for pages.
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"]


def plain(value):
    """What JSON has no form for; screenshots are bytes."""
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    raise TypeError(f"the script's result has a {type(value).__name__}, which JSON has no form for")


def own_error(error):
    """The error as the script's author needs it: its lines in the script, and none of Playwright's."""
    listed = traceback.TracebackException.from_exception(error)
    frames = [f"line {frame.lineno} of the script\n" for frame in listed.stack if frame.filename == "script"]
    return "".join([*frames, *listed.format_exception_only()])


def main():
    job = json.load(sys.stdin)
    # Standard output has the result alone, whatever a script prints.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=ARGUMENTS + job["arguments"], timeout=30000
        )
        context = browser.new_context(ignore_https_errors=job["ignore_https_errors"])
        context.set_default_timeout(job["step_seconds"] * 1000)
        names = {"page": context.new_page(), "browser": browser, "context": context, "result": None, **job["values"]}
        try:
            exec(compile(job["script"], "script", "exec"), names)
            text = json.dumps(names["result"], default=plain)
        except Exception as error:
            sys.stderr.write(own_error(error))
            sys.exit(1)
        finally:
            browser.close()
    answer.write(text)
    answer.close()


main()

"""``make pictures``: what an admin's terminal of 100 columns shows, from real runs, as SVG for the book.

Each is made twice, for the light and the dark page. Nothing in them is fetched from elsewhere.
"""

from __future__ import annotations

import copy
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
from fcntl import ioctl
from io import StringIO
from itertools import groupby
from pathlib import Path
from termios import TIOCSWINSZ
from typing import Any

import pyte
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI, TerminalTheme
from rich.text import Text

from testbed import hosts, images
from testbed.images import ROOT, say
from testbed.podman import BedError

FOLDER = ROOT / "docs/terminal"
COLUMNS, LINES = 100, 400
THEMES = {"light": DEFAULT_TERMINAL_THEME, "dark": MONOKAI}
NAME = "catmaid.example.org"
SITE: dict[str, Any] = {
    "server_name": NAME,
    "tls": {"certificate": "/etc/ssl/lab/catmaid.pem", "key": "/etc/ssl/lab/catmaid.key"},
    "instances": [{"workers": 2, "celery": {"concurrency": 1}}],
    "tiles": [{"name": "fafb", "url": "/tiles/fafb", "folder": "/data/fafb"}],
}


def in_terminal(words: list[str], folder: Path, answer: bytes = b"\n") -> tuple[int, pyte.Screen]:
    """Run a program in a terminal, press enter when it asks, and return its exit code and what the terminal shows."""
    screen = pyte.Screen(COLUMNS, LINES)
    screen.set_mode(pyte.modes.LNM)
    stream = pyte.ByteStream(screen)
    master, slave = pty.openpty()
    ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    own = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES", "CI")}
    process = subprocess.Popen(
        words, cwd=folder, env=own | {"TERM": "xterm-256color"}, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    seen = b""
    try:
        while select.select([master], [], [], 900)[0]:
            try:
                data = os.read(master, 1 << 16)
            except OSError:  # its other end is closed
                break
            if not data:
                break
            stream.feed(data)
            seen = (seen + data)[-200:]
            if answer and b"Press enter to execute" in seen:
                os.write(master, answer)
                answer = b""
        return process.wait(timeout=60), screen
    finally:
        process.kill()
        os.close(master)


def _color(name: str) -> str | None:
    """pyte's name of a colour as rich has it."""
    if name == "default":
        return None
    if re.fullmatch(r"[0-9a-f]{6}", name):
        return f"#{name}"
    return name.replace("brown", "yellow").replace("bright", "bright_")


def _style(one: pyte.screens.Char) -> Style:
    return Style(color=_color(one.fg), bold=one.bold, underline=one.underscore, reverse=one.reverse)


def text_of(screen: pyte.Screen) -> Text:
    """What a terminal shows, without the empty lines at its end."""
    lines = []
    for number in range(LINES):
        row, line = screen.buffer[number], Text()
        # Pieces of one style: each is an element of the picture.
        for style, piece in groupby((row[column] for column in range(COLUMNS)), _style):
            line.append("".join(one.data for one in piece), style)
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return Text("\n").join(lines)


def svg(text: Text, title: str, theme: TerminalTheme) -> str:
    """A terminal window of 100 columns with a text in it."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(text, overflow="ignore", no_wrap=True, crop=True)
    # Rich's own form fetches a font.
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    made = console.export_svg(title=title, theme=theme, code_format=form, unique_id="terminal")
    return "\n".join(line.rstrip() for line in made.splitlines() if line.strip()) + "\n"


def picture(name: str, host: dict[str, Any], command: str, known: Path, ends: tuple[int, ...] = (0,)) -> None:
    """Run a command of the book, and keep what the terminal shows as NAME-light.svg and NAME-dark.svg."""
    say(command)
    with tempfile.TemporaryDirectory(prefix="catmaid-deploy-") as name_of_folder:
        # The checkout, with an inventory of that name.
        folder = Path(name_of_folder)
        for path in ROOT.iterdir():
            if path.name != "inventories":
                (folder / path.name).symlink_to(path)
        inventory = folder / "inventories/prod.py"
        inventory.parent.mkdir()
        inventory.write_text(f"hosts = {[(NAME, host | {'ssh_known_hosts_file': str(known)})]!r}\n")
        code, screen = in_terminal(command.split(), folder)
    text = text_of(screen)
    if code not in ends:
        raise BedError(f"'{command}' ended with {code}:\n{text.plain}")
    FOLDER.mkdir(exist_ok=True)
    for theme, colors in THEMES.items():
        (FOLDER / f"{name}-{theme}.svg").write_text(svg(text, command, colors))


def main() -> None:
    """Boot a host, and take the pictures in the order in which an admin would see them."""
    # As with an environment that is activated: then a run names pyinfra without its folder.
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with images.lock("bookworm"):
        image = images.site("bookworm")
    with hosts.Bed("pictures") as bed, tempfile.TemporaryDirectory(prefix="catmaid-deploy-") as folder:
        host = bed.boot(image, "host", hostname="catmaid")
        host.run(
            f"""
            mkdir -p /data/fafb/0 /etc/ssl/lab; echo tile > /data/fafb/0/0_0_0.jpg
            openssl req -x509 -newkey rsa:2048 -nodes -days 90 -subj /CN={NAME} -addext subjectAltName=DNS:{NAME} \
                -out /etc/ssl/lab/catmaid.pem -keyout /etc/ssl/lab/catmaid.key 2>/dev/null
            """
        )
        known = Path(folder) / "known_hosts"
        words = ["ssh-keyscan", "-p", str(host.ssh_port), "127.0.0.1"]
        known.write_text(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        own = host.ssh_data() | {"ssh_strict_host_key_checking": "yes"}
        data = own | {"site": SITE}
        changed, wrong = copy.deepcopy(SITE), copy.deepcopy(SITE)
        changed["instances"][0]["workers"] = 3
        changed["tiles"].append({"name": "l1", "url": "/tiles/l1", "folder": "/data/fafb"})
        wrong["tls"] = {"certificate": "/etc/ssl/lab.pem", "key": "/etc/ssl/lab.key"}
        wrong["instances"][0]["user"] = "catmaids"
        wrong["tiles"][0]["folder"] = "/data/fafb-v14"

        deploy = "pyinfra inventories/prod.py deploy.py"
        picture("first-deploy", data, deploy, known)
        picture("second-run", data, deploy, known)
        picture("dry-run", own | {"site": changed}, f"{deploy} --dry --diff", known)
        picture("error", own | {"site": wrong}, deploy, known, ends=(1,))
        picture("status", data, "pyinfra inventories/prod.py runbooks/status.py", known)
        host.run("echo >> /etc/nginx/conf.d/catmaid.conf; supervisorctl stop catmaid:catmaid-celery-a >/dev/null")
        picture("verify", data, "pyinfra inventories/prod.py runbooks/verify.py", known, ends=(1,))

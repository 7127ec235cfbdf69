"""Bring Supervisor's programs in line with their files, and restart nothing else."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from facts.supervisor import Program, SupervisorPrograms

UP = ("RUNNING", "STARTING")

# supervisorctl ends with 0 after some errors, so what it prints is read; and it returns before
# a program has shown that it stays up. A program between two tries (BACKOFF) gets its time.
_WAIT = """
limit={seconds}
while :; do
  status=$(supervisorctl status {group}:\\*) || true
  waiting=$(printf '%s\\n' "$status" | grep -vc ' RUNNING ') || true
  [ "$waiting" = 0 ] && exit 0
  if [ "$limit" -le 0 ] || printf '%s\\n' "$status" | grep -q ' FATAL '; then break; fi
  limit=$((limit - 1)); sleep 1
done
printf '%s\\n' "$status" >&2
for program in $(printf '%s\\n' "$status" | grep -v ' RUNNING ' | cut -d' ' -f1); do
  short=${{program#*:{group}-}}
  echo "last lines of {log_dir}/$short.log:" >&2
  tail -n 15 "{log_dir}/$short.log" >&2
done
exit 1
"""


def decide(group: str, digests: dict[str, str], group_digest: str, found: dict[str, Program]) -> list[list[str]]:
    """The supervisorctl calls that bring ``group`` from what was found to what is wanted; none when it is so.

    + group: the Supervisor group, which is the instance's name
    + digests: the digest of its files for each program
    + group_digest: the digest of the group's file in conf.d
    + found: what SupervisorPrograms returned
    """
    programs = {name: found.get(f"{group}:{name}") for name in digests}
    stale = {p.group_digest for p in programs.values() if p and p.group_digest and p.state in UP} - {group_digest}
    extra = [n for n in found if n.startswith(f"{group}:") and n.partition(":")[2] not in digests]
    if stale or extra or None in programs.values() or not any(p and p.digest for p in programs.values()):
        # Supervisor has another group than the file, or it can't be told because nothing runs. An update
        # starts what it changes; what it leaves alone and isn't running is started after it.
        return [["reread"], ["update", group], ["start", f"{group}:*"]]
    calls = []
    for name, program in programs.items():
        assert program is not None
        if program.state not in UP:
            calls.append(["start", f"{group}:{name}"])
        elif program.digest != digests[name]:
            calls.append(["restart", f"{group}:{name}"])
    return calls


@operation()
def group(
    group: str,
    digests: dict[str, str],
    group_digest: str,
    log_dir: str,
    seconds: int = 120,
) -> Generator[StringCommand, None, None]:
    """
    Start what isn't running and restart what runs with other files than are on disk (rows 14, 15 and 28).

    + group: the Supervisor group
    + digests: for each program the digest of its files
    + group_digest: the digest of the group's file in conf.d
    + log_dir: where the programs' logs are, for the message when one doesn't start
    + seconds: how long all programs together may take to run

    A changed program is restarted alone; only a change of the group's own file restarts the group.
    """
    calls = decide(group, digests, group_digest, host.get_fact(SupervisorPrograms))
    if not calls:
        host.noop(f"all programs of {group} run with their files")
        return
    for call in calls:
        # 'start' of a program that an update has started already is no failure: the wait below decides.
        script = "supervisorctl " + " ".join(f"'{word}'" for word in call)
        if call[0] in ("reread", "update"):
            script = f'out=$({script} 2>&1) || {{ echo "$out" >&2; exit 1; }}; echo "$out"; '
            script += 'case "$out" in *ERROR*|*error:*) exit 1;; esac'
        else:
            script += " || true"
        yield StringCommand("sh", "-c", QuoteString(script))
    yield StringCommand("sh", "-c", QuoteString(_WAIT.format(group=group, log_dir=log_dir, seconds=seconds)))

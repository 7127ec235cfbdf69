"""The last lines of all that an instance, or a host without any, writes; or a bundle for a report, without secrets."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path

from pyinfra import host

from catmaid_deploy import questions
from catmaid_deploy.answers import sought as answers
from catmaid_deploy.facts.survey import Logs
from catmaid_deploy.finding import Refused, fault
from catmaid_deploy.plan.task import Tasks, merged
from catmaid_deploy.run import hosts, sudo
from catmaid_deploy.run.ask import ask
from catmaid_deploy.schema import Deployment, Instance
from catmaid_deploy.upkeep import output

SCREEN_LINES, BUNDLE_LINES = 15, 5000


def _instance(deployment: Deployment) -> Instance | None:
    """The one that is meant; None where the host has none and none is named."""
    name = host.data.get("instance")
    if not deployment.instances:
        if name is not None:
            raise Refused(fault("instance", f"there is no {name!r}", "leave it out: this host has no instance"))
        return None
    found = [one for one in deployment.instances if name in (None, one.name)]
    if len(found) != 1:
        known = ", ".join(one.name for one in deployment.instances)
        raise Refused(fault("instance", "say which one", f"name one of {known}, as --data instance=NAME"))
    return found[0]


def question(
    tasks: Tasks, deployment: Deployment, instance: Instance | None, lines: int, with_files: bool
) -> questions.Logs:
    """What a host is asked: patterns of logs and of other files, from all tasks."""
    found = merged(task.logs(deployment, instance) for task in tasks)
    return {"logs": found["logs"], "files": found["files"] if with_files else [], "lines": lines}


def _ask(tasks: Tasks, deployment: Deployment) -> answers.Logs:
    instance = _instance(deployment)
    bundle = host.data.get("bundle") is not None
    lines = host.data.get("lines") or (BUNDLE_LINES if bundle else SCREEN_LINES)
    if not str(lines).isdigit():
        raise Refused(fault("lines", f"{lines!r} is no number", "give a number, --data lines=50"))
    return ask(Logs, question(tasks, deployment, instance, int(lines), bundle))[0]


def _print(name: str, logs: dict[str, list[str]]) -> None:
    output.echo()
    output.echo(name + ("" if logs else ": there are no logs of it yet"), bold=True)
    for path, lines in logs.items():
        output.echo(f"  {path}" + ("" if lines else ": empty"), fg="cyan")
        for line in lines:
            output.echo(f"    {line}")


def _pack(path: Path, answered: dict[str, answers.Logs]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, answer in answered.items():
            texts = {one: "\n".join(lines) + "\n" for one, lines in answer["logs"].items()} | answer["files"]
            for one, text in texts.items():
                data = text.encode()
                entry = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}{one}")
                entry.size, entry.mtime = len(data), int(time.time())
                archive.addfile(entry, io.BytesIO(data))


def show(tasks: Tasks) -> None:
    """Print the logs of all hosts of the run, or pack them; ends the run."""
    hosts.options("instance", "lines", "bundle")
    deployments, wrong = hosts.described(hosts.for_all())
    answered: dict[str, answers.Logs] = {}
    faults = [(name, found) for name, some in wrong.items() for found in some]
    for one, answer in hosts.each(deployments, lambda deployment: _ask(tasks, deployment)).items():
        if isinstance(answer, Refused):
            faults += [(one.name, found) for found in answer.findings]
        else:
            answered[one.name] = answer
    sudo.keep_password_out_of_sight()
    bundle = host.data.get("bundle")
    if bundle is not None and answered:
        path = Path(f"{str(bundle).removesuffix('.tar.gz')}.tar.gz")
        try:
            _pack(path, answered)
        except OSError as error:
            what = f"{path} can't be written ({error.strerror})"
            faults.append(("bundle", fault("path", what, "name a file in a folder that is there")))
        else:
            output.echo(
                f"{path}: logs and files of {', '.join(answered)}, without secrets; look into it before you send it"
            )
    elif not output.JSON:
        for name, answer in answered.items():
            _print(name, answer["logs"])
    for name, found in faults:
        output.complain(found.line(name))
    output.end({name: answer["logs"] for name, answer in answered.items()}, int(bool(faults)))

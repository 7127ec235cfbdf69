"""What a run does to a host: all of it the first time, nothing the second, in a dry run ever."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest

from catmaid_deploy.schema import NGINX_USER
from catmaid_deploy.tasks.distributions import DISTRIBUTIONS
from catmaid_deploy.version import VERSION
from testbed.run import BOOKKEEPING, pyinfra
from tests.host.conftest import SITE, Deployed, processes


def pids(deployed: Deployed) -> str:
    """Every process of the stack with its number and start time."""
    return deployed.host.run(
        "ps -eo pid,lstart,args --no-headers | grep -E '[n]ginx|[u]wsgi|[c]elery|[d]aphne|[s]upervisord'"
        " | grep -v start.sh | sort"
    )


def changed(**changes: Any) -> dict[str, Any]:
    """SITE with other values for its first instance."""
    site = copy.deepcopy(SITE)
    site["instances"][0].update(changes)
    return site


def test_a_dry_run_on_a_bare_host_goes_through(deployed: Deployed) -> None:
    assert deployed.dry.code == 0, deployed.dry.text
    assert "Configuration: programs of catmaid" in deployed.dry.planned
    assert "Configuration: nginx" in deployed.dry.planned
    assert "create /etc/nginx/sites-available/catmaid-localhost.conf" in deployed.dry.text
    assert "+    server_name localhost tracing.test;" in deployed.dry.text


def test_a_distribution_is_as_its_entry_says(deployed: Deployed) -> None:
    (entry,) = [one for one in DISTRIBUTIONS if one.suite == deployed.suite]
    assert deployed.host.run(". /etc/os-release; echo $ID $VERSION_ID") == f"{entry.id} {entry.version}"
    nginx = ".".join(map(str, entry.nginx))
    assert f"nginx/{nginx}." in deployed.host.run("nginx -v 2>&1")
    assert ("brotli" in deployed.host.run("ls /etc/nginx/modules-enabled")) == entry.brotli
    assert deployed.host.run("python3 -V").startswith("Python {}.{}.".format(*entry.python))


def test_a_dry_run_changes_nothing(deployed: Deployed) -> None:
    assert deployed.state_after_dry == deployed.state_before


@pytest.mark.row_15
def test_the_second_run_changes_nothing_and_restarts_nothing(deployed: Deployed) -> None:
    before = pids(deployed)
    assert before.count("uwsgi") > 3
    run = deployed.deploy()
    assert run.changed == []
    assert run.planned == []
    assert pids(deployed) == before


NOTE = """python3 -c '
import json, sys
path = "/var/lib/catmaid-deploy/last-run.json"
note = json.load(open(path))
note.pop("host_version", None)
note.update(json.loads(sys.argv[1]))
json.dump(note, open(path, "w"))
' """


def test_a_host_of_an_earlier_version_is_told_what_changes_and_takes_a_note_alone(deployed: Deployed) -> None:
    before = pids(deployed)
    deployed.host.run(NOTE + "'{}'")
    dry = pyinfra(deployed.host, {"site": SITE}, "--dry")
    first, second = dry.text.index(f"--> host: deployed by 0.1.0; this is {VERSION}:"), dry.text.index("Breaking: ")
    assert first < second < dry.text.index(f"version: 0.1.0 becomes {VERSION}")
    run = deployed.deploy()
    assert run.changed_services == [f"Note the version {VERSION}"] == [n for n in dry.planned if n not in BOOKKEEPING]
    assert "Breaking: " in run.text
    assert pids(deployed) == before
    again = deployed.deploy()
    assert again.changed == []
    assert "Breaking: " not in again.text


@pytest.mark.parametrize("deploy", ["deploy.py", "runbooks/rollback.py", "runbooks/maintenance.py"])
def test_an_older_deploy_changes_nothing_on_a_newer_ones_host(deployed: Deployed, deploy: str) -> None:
    before = pids(deployed)
    deployed.host.run(NOTE + """'{"host_version": "99.0.0"}'""")
    try:
        options = ("--data", "maintenance=on") if "maintenance" in deploy else ()
        for dry in ((), ("--dry",)):
            run = pyinfra(deployed.host, {"site": changed(workers=3)}, "-y", *options, *dry, deploy=deploy)
            assert run.code == 1
            (line,) = run.refusals
            assert line.startswith(f"host: version: the host was deployed by version 99.0.0, and this is {VERSION}")
        assert pids(deployed) == before
        status = pyinfra(deployed.host, {"site": SITE}, deploy="runbooks/status.py")
        assert status.code == 1
        (finding,) = (one for one in status.report["hosts"][0]["findings"] if one["place"] == "version")
        assert finding["fix"].startswith("deploy by 99.0.0 or a later one")
        assert status.report["hosts"][0]["version"] == "99.0.0"
    finally:
        deployed.host.run(NOTE + f"""'{{"host_version": "{VERSION}"}}'""")


@pytest.mark.slow
@pytest.mark.row_15
@pytest.mark.parametrize(
    ("change", "program"),
    [
        ({"celery": {"concurrency": 1, "log_level": "warning"}}, "catmaid-celery"),
        ({"workers": 3}, "catmaid-wsgi"),
    ],
)
def test_a_changed_program_restarts_alone(deployed: Deployed, change: dict[str, Any], program: str) -> None:
    before = processes(deployed.host)
    try:
        deployed.deploy(changed(**change))
        after = processes(deployed.host)
        touched = {name for name in before if before[name] != after.get(name)}
        expected = {program} | ({"catmaid-celery-beat"} if "celery" in change else set())
        assert touched == expected
    finally:
        deployed.deploy()


@pytest.mark.slow
@pytest.mark.row_15
def test_an_interrupted_run_is_healed(deployed: Deployed) -> None:
    """The files are there but were never loaded, as when a run breaks before its last steps."""
    host = deployed.host
    host.run("sed -i 's/ [0-9a-f]\\{16\\} / 0000000000000000 /' /etc/catmaid/catmaid/wsgi/run/started")
    before = processes(deployed.host)
    run = deployed.deploy()
    assert run.changed_services == ["programs of catmaid"]
    after = processes(deployed.host)
    assert {n for n in before if before[n] != after[n]} == {"catmaid-wsgi"}


@pytest.mark.slow
def test_a_site_that_nginx_refuses_leaves_the_running_one(deployed: Deployed) -> None:
    host = deployed.host
    # The running nginx's certificate, before the run makes one for more names.
    assert deployed.trust
    host.run("echo 'nonsense;' > /etc/nginx/conf.d/broken.conf")
    try:
        run = pyinfra(host, {"site": SITE | {"aliases": ["tracing.test", "other.example.org"]}}, "-y")
        assert run.code != 0
        assert "nonsense" in run.text
        with deployed.client() as client:
            assert client.get("/catmaid/whoami").status_code == 200
    finally:
        host.run("rm /etc/nginx/conf.d/broken.conf")
        deployed.deploy()


def test_other_sites_of_the_host_are_left_alone(deployed: Deployed) -> None:
    host = deployed.host
    host.run(
        "echo 'server { listen 80; server_name other.example.org; return 200 other; }' > /etc/nginx/sites-enabled/other"
        " && systemctl reload nginx"
    )
    try:
        assert deployed.deploy().changed == []
        with deployed.client() as client:
            other = client.get(host.http_url, headers={"Host": "other.example.org"})
            assert other.text == "other"
    finally:
        host.run("rm /etc/nginx/sites-enabled/other && systemctl reload nginx")


@pytest.mark.slow
@pytest.mark.row_32
def test_what_another_site_loses_is_told_before(deployed: Deployed) -> None:
    """Its folder is for www-data alone, whose rights nginx's workers had before they got a user of their own."""
    host = deployed.host
    host.run(
        """
        install -d -o www-data -g root -m 700 /srv/theirs; echo theirs > /srv/theirs/page.txt
        echo 'server { listen 80; server_name other.example.org; root /srv/theirs; }' > /etc/nginx/sites-enabled/other
        systemctl reload nginx
        """
    )

    def told() -> str:
        run = pyinfra(host, {"site": SITE}, "--dry")
        assert run.code == 0, run.text
        return run.text

    def answer() -> int:
        with deployed.client() as client:
            return client.get(f"{host.http_url}/page.txt", headers={"Host": "other.example.org"}).status_code

    try:
        text = told()
        assert (
            "/etc/nginx/sites-enabled/other needs /srv/theirs, which www-data reaches and nginx's own user, "
            "catmaid-nginx, doesn't" in text
        )
        assert answer() == 403
        (fix,) = re.findall(r"^ +fix: (.*setfacl.*)$", text, re.MULTILINE)
        host.run(fix, timeout=120)
        assert "/srv/theirs" not in told()
        assert answer() == 200
    finally:
        host.run("rm -r /etc/nginx/sites-enabled/other /srv/theirs && systemctl reload nginx")


def test_the_report_is_json(deployed: Deployed) -> None:
    assert json.dumps(deployed.first.report)
    assert deployed.first.changed == [
        "Take the host for this run",
        "Read the package sources",
        "Install packages",
        f"Group {NGINX_USER}",
        f"User {NGINX_USER}",
        "uWSGI 2.0.31 for catmaid",
        "Self-signed certificate of localhost",
        "Configuration: system",
        *(f"Configuration: programs of {instance.name}" for instance in deployed.site.instances),
        "Configuration: nginx",
        "Configuration: disks",
        "Record what changed",
    ]

"""What can be wrong with a deployed host, one by one, and what has to be said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from catmaid_deploy.schema import FOUR
from catmaid_deploy.version import VERSION
from testbed.run import CHECKOUT, VIRTUALENV
from tests.host.conftest import place
from tests.host.test_refusals import _certificate, _with_passphrase

TILES, FILES = "/data/disk/tiles", f"{CHECKOUT}/django/files"
SETTINGS = f"{CHECKOUT}/django/projects/mysite/settings.py"
SELF_SIGNED = "/etc/catmaid/tls/self-signed/localhost"
PUT_TILES = f"mkdir -p {TILES}/0; echo tile > {TILES}/0/1_2_0.jpg; touch /data/disk/.there"
MOUNT = "mount -t tmpfs -o size=2m,mode=755 tmpfs /data/disk"
NGINX_FILE = "/etc/nginx/sites-available/catmaid-localhost.conf"
BROKEN, BOGUS = "/etc/supervisor/conf.d/broken.conf", "/etc/nginx/conf.d/bogus.conf"
SUPERVISORD = "/etc/supervisor/supervisord.conf"
DIFFERS = "not as the inventory says, a deploy would: "
# Of each kind one that a normal run injects; the others with --long.
SAMPLE = {
    "a stopped program",
    "a hand-edited nginx file",
    "an nginx that a file keeps down",
    "a key that everybody can read",
    "a parent folder that nginx can't enter",
    "a tile disk that isn't mounted",
}


@dataclass(frozen=True)
class Fault:
    """How a host is broken, and what has to be said of it.

    + breaks: a script for the host; RELEASE and BREAK put another release, or a broken one, in place
    + mends: what the fix tells an admin to do, where that is a sentence: a script too; DEPLOY is for a deploy
    + place, says: the finding's place, and what its text has to have
    + glance: what `status` says where that differs; empty where only `verify` looks so closely
    + level: a warning for what keeps no user from working
    + then: the place of what is at fault after the fix, and gets one of its own
    + cleans: a script for what the fault leaves behind, after the fix
    + described: how the inventory differs from the one that was deployed, where that is the fault
    + ahead: how many seconds the clock of this machine is ahead
    + privileged: whether the scripts need rights that the host itself hasn't
    """

    place: str
    says: str
    breaks: str = "true"
    mends: str = "true"
    glance: str | None = None
    level: str = "fault"
    then: str = ""
    cleans: str = "true"
    described: Callable[[dict[str, Any]], None] | None = None
    ahead: int = 0
    privileged: bool = False


def _signal(name: str, short: str) -> str:
    return f"/bin/kill -{name} -- -$(supervisorctl pid {place(short)})"


def _older(short: str, seconds: int) -> str:
    """Wait until a program has run for so long."""
    pid = f"$(supervisorctl pid {place(short)})"
    return f"while [ $(ps -o etimes= -p {pid}) -lt {seconds} ]; do sleep 1; done"


def _settings(line: str) -> str:
    """A line at the end of settings.py, until what was there before is put back with its time."""
    return f"cp -p {SETTINGS} /root/settings.py; echo '{line}' >> {SETTINGS}"


OTHER_NAME, OTHER_PAGES = 'ALLOWED_HOSTS = ["other.test"]', 'ROOT_URLCONF = "nothing"'
OLD_SETTINGS = f"cp -p /root/settings.py {SETTINGS}"
# All of them: one that has read other settings than are there has a line of its own, and so has one that just begins.
LARGE = "catmaid.large:catmaid.$(readlink /etc/catmaid/catmaid/large)"
READ_SETTINGS = f"""for name in {" ".join([*map(place, FOUR), LARGE])}; do
        supervisorctl restart $name >/dev/null &
    done; wait
    for file in wsgi/run/ready celery/run/alive celery-beat/run/alive large/run/alive; do
        until [ -e /etc/catmaid/catmaid/$file ]; do sleep 0.2; done
    done"""
NOTED = """sed -i 's/"host_version": "FROM"/"host_version": "TO"/' /var/lib/catmaid-deploy/last-run.json
    grep -q TO /var/lib/catmaid-deploy/last-run.json"""
ADD_STRANGER = f"""cd {CHECKOUT}/django/projects
    su -s /bin/sh www-data -c "exec setsid {VIRTUALENV}/bin/celery -A mysite $WORDS" </dev/null >/dev/null 2>&1 &
    sleep 8"""
CONTROL = f"""cd {CHECKOUT}/django/projects
    su -s /bin/sh www-data -c "{VIRTUALENV}/bin/celery -A mysite control $WORDS" >/dev/null"""
KILL_UNTIL_IT_IS_GIVEN_UP = """
    for _ in $(seq 600); do
        set -- $(supervisorctl status PLACE || true)
        [ "$2" = FATAL ] && exit
        pid=$(supervisorctl pid PLACE) && kill -9 "$pid" || true
        sleep 0.1
    done
    exit 1
"""


def _own_certificate(site: dict[str, Any]) -> None:
    site["tls"] |= {"certificate": "/etc/ssl/lab.pem", "key": "/etc/ssl/private/lab.key"}


def _own(
    key: str, says: str, names: tuple[str, ...] = ("localhost",), days: int = 90, change: str = "", locked: bool = False
) -> Fault:
    """A certificate of the lab's own, of which something is wrong."""
    certificate, its_key = _certificate(*names, days=days)
    its_key = _with_passphrase(its_key) if locked else its_key
    return Fault(
        f"site[localhost].tls.{key}",
        says,
        f"cat > /etc/ssl/lab.pem <<'E'\n{certificate}E\ncat > /etc/ssl/private/lab.key <<'E'\n{its_key}E\n"
        f"chmod 600 /etc/ssl/private/lab.key\n{change}",
        "rm -f /etc/ssl/lab.pem /etc/ssl/private/lab.key",
        described=_own_certificate,
    )


def _another_port(site: dict[str, Any]) -> None:
    site["instances"][0]["database"]["port"] = 5999


def _no_user(site: dict[str, Any]) -> None:
    site["instances"][0]["user"] = "tracer"


def _no_group(site: dict[str, Any]) -> None:
    site["instances"][0]["runtime_group"] = "tracer"


def _tiles(**values: Any) -> Callable[[dict[str, Any]], None]:
    """The tile set with other values; None is for a key that isn't there."""

    def describe(site: dict[str, Any]) -> None:
        tiles = site["tiles"][0] | values
        site["tiles"] = [{key: value for key, value in tiles.items() if value is not None}]

    return describe


SOON, SOON_KEY = _certificate("localhost", days=20)
EXPIRED, EXPIRED_KEY = _certificate("localhost", days=-3)
FAULTS = {
    # ---- programs ----
    "a stopped program": Fault("wsgi of catmaid", "somebody stopped it", f"supervisorctl stop {place('wsgi')}"),
    "Daphne is away": Fault("daphne of catmaid", "somebody stopped it", f"supervisorctl stop {place('daphne')}"),
    "beat is dead": Fault(
        "celery-beat of catmaid", "somebody stopped it", f"supervisorctl stop {place('celery-beat')}"
    ),
    "uWSGI that a signal has stopped": Fault("wsgi of catmaid", "it is stopped by a signal", _signal("STOP", "wsgi")),
    "a worker that a signal has stopped": Fault(
        "celery of catmaid", "it is stopped by a signal", _signal("STOP", "celery")
    ),
    "a beat that a signal has stopped": Fault(
        "celery-beat of catmaid", "it is stopped by a signal", _signal("STOP", "celery-beat")
    ),
    "a silent beat": Fault(
        "celery-beat of catmaid",
        "it doesn't respond",
        f"""{_older("celery-beat", 32)}
        chown root /run/catmaid/celery-beat-?/alive; chmod 444 /run/catmaid/celery-beat-?/alive; sleep 12""",
    ),
    "a program that restarts all the time": Fault(
        "daphne of catmaid",
        "it restarts all the time: it ended ",
        "for _ in 1 2 3; do kill -9 $(supervisorctl pid PLACE); sleep 5; done".replace("PLACE", place("daphne")),
    ),
    "programs that Supervisor doesn't have": Fault(
        "programs of catmaid",
        "Supervisor doesn't have them",
        "supervisorctl stop catmaid:* >/dev/null; supervisorctl remove catmaid >/dev/null",
    ),
    "a deleted socket": Fault(
        "sockets of catmaid",
        "/run/catmaid/uwsgi.socket leads to nothing, since the socket of wsgi was removed",
        f"{_older('wsgi', 32)}; rm /etc/catmaid/catmaid/wsgi/run/socket",
    ),
    "a page that isn't there": Fault(
        "page of catmaid",
        "/catmaid/ answers 404: the application has no such page",
        f"""echo 'urlpatterns = []' > {CHECKOUT}/django/projects/nothing.py
        {_settings(OTHER_PAGES)}; {READ_SETTINGS}""",
        f"rm {CHECKOUT}/django/projects/nothing.py; {OLD_SETTINGS}; {READ_SETTINGS}",
    ),
    "an application that refuses the site's name": Fault(
        "page of catmaid",
        "/catmaid/ answers 400: the application refuses it, as Django does where settings.py lacks the site's name in "
        "ALLOWED_HOSTS",
        f"{_settings(OTHER_NAME)}; {READ_SETTINGS}",
        f"{OLD_SETTINGS}; {READ_SETTINGS}",
    ),
    "a worker that takes no tasks": Fault(
        "task of catmaid",
        "no worker takes it within 15 s",
        CONTROL.replace("$WORDS", "cancel_consumer celery"),
        CONTROL.replace("$WORDS", "add_consumer celery"),
        glance="",
    ),
    "a host of a later version": Fault(
        "version",
        f"the host was deployed by version 99.0.0, and this is {VERSION}, which doesn't know all that is there",
        NOTED.replace("FROM", VERSION).replace("TO", "99.0.0"),
        NOTED.replace("FROM", "99.0.0").replace("TO", VERSION),
    ),
    "another worker that takes no tasks": Fault(
        "task for large of catmaid",
        "no worker takes it within 15 s",
        CONTROL.replace("$WORDS", "cancel_consumer large"),
        CONTROL.replace("$WORDS", "add_consumer large -d catmaid.large-a@$(hostname)"),
        glance="",
    ),
    "an old release in memory": Fault(
        "configuration of programs of catmaid",
        DIFFERS + "hand over wsgi: its code or Python environment is newer",
        "RELEASE",
    ),
    "code that doesn't load": Fault(
        "application of catmaid",
        "it doesn't load: ImportError: broken on purpose",
        "BREAK",
        "DEPLOY",
        glance="its code or Python environment is newer",
    ),
    "a second beat": Fault(
        "celery", " that isn't the deploy's runs by ", ADD_STRANGER.replace("$WORDS", "beat -s /tmp/beat")
    ),
    "a second worker": Fault(
        "celery",
        " that isn't the deploy's runs by ",
        ADD_STRANGER.replace("$WORDS", "worker --concurrency 1 -n more@%h"),
    ),
    "a worker that doesn't end": Fault(
        "celery of catmaid",
        "was told to end and still runs after celery.stop_seconds",
        ADD_STRANGER.replace("$WORDS", "worker --concurrency 1 -n more@%h")
        + """
    pid=$(pgrep -o -u www-data -f 'worker --concurrency 1 -n more@')
    cd /run/catmaid/celery-a; mkdir -p ending; echo $pid 1 > ending/$pid; touch -d '1 hour ago' ending/$pid
    chown -R www-data: ending""",
        cleans="rm -r /run/catmaid/celery-a/ending",
    ),
    # ---- Supervisor ----
    "supervisor is stopped": Fault("supervisor", "it doesn't run", "systemctl stop supervisor"),
    "Supervisor asks for another password": Fault(
        "supervisor",
        f"it runs with another username or password than {SUPERVISORD} has",
        rf"cp -p {SUPERVISORD} /root/supervisord.conf; sed -i 's/^\[unix_http_server\]/&\nusername=a\npassword=b/' "
        f"{SUPERVISORD}; systemctl restart supervisor; "
        "until supervisorctl status 2>&1 | grep -q uthentic; do sleep 1; done; "
        f"sed -i 's/^password=b/password=c/' {SUPERVISORD}",
        cleans=f"cp -p /root/supervisord.conf {SUPERVISORD}; systemctl restart supervisor",
    ),
    "Supervisor has another socket": Fault(
        "supervisor",
        f"it began before {SUPERVISORD} was changed, and has no socket at /run/other.sock",
        f"cp -p {SUPERVISORD} /root/supervisord.conf; "
        f"sed -i 's#^file=.*#file=/run/other.sock#; s#unix://.*#unix:///run/other.sock#' {SUPERVISORD}",
        cleans=f"cp -p /root/supervisord.conf {SUPERVISORD}; systemctl restart supervisor",
    ),
    "a supervisorctl without the password": Fault(
        "supervisor",
        f"by {SUPERVISORD} supervisorctl can't ask it, and so programs of others don't end when Supervisor restarts",
        rf"cp -p {SUPERVISORD} /root/supervisord.conf; sed -i 's/^\[unix_http_server\]/&\nusername=a\npassword=b/' "
        f"{SUPERVISORD}; systemctl restart supervisor",
        f"cp -p /root/supervisord.conf {SUPERVISORD}; systemctl restart supervisor",
        level="warning",
    ),
    "Supervisor has no socket": Fault(
        "supervisor",
        f"by {SUPERVISORD} it takes orders by TCP alone, where any user may answer in its place",
        f"cp -p {SUPERVISORD} /root/supervisord.conf; "
        f"sed -i 's#^.unix_http.*#[inet_http_server]#; s#^file=.*#port=127.0.0.1:9001#; /^chmod/d' {SUPERVISORD}",
        f"cp -p /root/supervisord.conf {SUPERVISORD}",
    ),
    "somebody else's file that Supervisor reads": Fault(
        "supervisor",
        "/etc/supervisor/conf.d/theirs.conf can be changed by catmaid, and Supervisor starts as root what it says",
        "printf '[eventlistener-off]\n' > /etc/supervisor/conf.d/theirs.conf; "
        "chown catmaid /etc/supervisor/conf.d/theirs.conf",
        "rm /etc/supervisor/conf.d/theirs.conf",
        level="warning",
    ),
    "Supervisor reads other files": Fault(
        "supervisor",
        "it reads /etc/supervisor/conf.d/*.ini, and so no program of catmaid",
        f"cp -p {SUPERVISORD} /root/supervisord.conf; sed -i 's#^files = .*#files = conf.d/*.ini#' {SUPERVISORD}",
        f"cp -p /root/supervisord.conf {SUPERVISORD}",
    ),
    "a file that Supervisor refuses": Fault(
        f"supervisor's file {BROKEN}",
        "it would not start with its files as they are: Error: File contains no section headers. ",
        f"echo nonsense > {BROKEN}",
        f"rm {BROKEN}",
    ),
    "a Supervisor that a file keeps down": Fault(
        f"supervisor's file {BROKEN}",
        "it would not start with its files as they are: Error: not a valid boolean value: 'perhaps' ",
        f"printf '[program:theirs]\\ncommand=/bin/true\\nautostart=perhaps\\n' > {BROKEN}; "
        "systemctl restart supervisor 2>/dev/null || true; sleep 1",
        f"rm {BROKEN}; systemctl start supervisor",
    ),
    "a group's file is gone": Fault(
        "configuration of programs of catmaid",
        DIFFERS + "create /etc/supervisor/conf.d/catmaid.conf",
        "rm /etc/supervisor/conf.d/catmaid.conf",
    ),
    "Supervisor doesn't start at boot": Fault(
        "boot", "supervisor.service doesn't start at boot", "systemctl disable supervisor 2>/dev/null"
    ),
    # ---- nginx ----
    "nginx is stopped": Fault("nginx", "it doesn't run: users reach nothing", "systemctl stop nginx"),
    "nginx doesn't start at boot": Fault(
        "boot", "nginx.service doesn't start at boot", "systemctl disable nginx 2>/dev/null"
    ),
    "another web server that starts at boot": Fault(
        "boot",
        "caddy.service starts at boot, and may take nginx's ports before nginx does",
        # As one has it who didn't install it from Debian.
        """printf '[Service]\\nExecStart=/usr/local/bin/caddy run\\n[Install]\\nWantedBy=multi-user.target\\n' \\
            > /etc/systemd/system/caddy.service
        systemctl enable caddy 2>/dev/null""",
        cleans="rm /etc/systemd/system/caddy.service; systemctl daemon-reload",
    ),
    "another program has nginx's port": Fault(
        "port 80",
        "held by python3 (process ",
        """printf '[Service]\\nExecStart=/usr/bin/python3 -m http.server 80\\n' > /etc/systemd/system/other.service
        systemctl daemon-reload; systemctl stop nginx; systemctl start other; sleep 1""",
        then="nginx",
        cleans="rm /etc/systemd/system/other.service; systemctl daemon-reload",
    ),
    "a hand-edited nginx file": Fault(
        "configuration of nginx", f"{DIFFERS}change {NGINX_FILE}", f"echo '# by hand' >> {NGINX_FILE}"
    ),
    "a file that nginx refuses": Fault(
        f"nginx's file {BOGUS}",
        'it would not start with its files as they are: [emerg] unknown directive "bogus"',
        f"echo 'bogus;' > {BOGUS}",
        f"rm {BOGUS}",
    ),
    "an nginx that a file keeps down": Fault(
        f"nginx's file {BOGUS}",
        'it would not start with its files as they are: [emerg] invalid parameter "nonsense"',
        f"echo 'server {{ listen 80 nonsense; }}' > {BOGUS}; systemctl restart nginx 2>/dev/null || true",
        f"rm {BOGUS}; systemctl start nginx",
    ),
    "a certificate of another site is gone": Fault(
        "nginx's files",
        'it would not start with its files as they are: [emerg] cannot load certificate "/srv/fullchain.pem"',
        f"""cp {SELF_SIGNED}/*.pem /srv/
        echo 'server {{ listen 443 ssl; server_name other.example.org;
        ssl_certificate /srv/fullchain.pem; ssl_certificate_key /srv/privkey.pem; }}' > /etc/nginx/conf.d/other.conf
        systemctl reload nginx; sleep 1; rm /srv/fullchain.pem""",
        "rm /etc/nginx/conf.d/other.conf /srv/privkey.pem; systemctl reload nginx",
    ),
    "the distribution's default site is back": Fault(
        "configuration of nginx",
        DIFFERS + "remove /etc/nginx/sites-enabled/default",
        "ln -s /etc/nginx/sites-available/default /etc/nginx/sites-enabled/default",
    ),
    "another site answers unknown names": Fault(
        "configuration of nginx",
        DIFFERS,
        "printf 'server {\\n listen 80 default_server;\\n}\\n' > /etc/nginx/sites-enabled/theirs",
        cleans="rm /etc/nginx/sites-enabled/theirs; DEPLOY",
    ),
    "a file of nginx's that others may change": Fault(
        "nginx",
        "/etc/nginx/conf.d/theirs.conf can be changed by www-data, and nginx reads it as root",
        "touch /etc/nginx/conf.d/theirs.conf; chown www-data /etc/nginx/conf.d/theirs.conf",
        "chown root /etc/nginx/conf.d/theirs.conf",
        level="warning",
        cleans="rm /etc/nginx/conf.d/theirs.conf",
    ),
    "a neighbour's files that nginx can't read": Fault(
        "nginx",
        "/etc/nginx/conf.d/theirs.conf needs /srv/theirs, which www-data reaches and nginx's own user, catmaid-nginx, "
        "doesn't",
        """install -d -o www-data -m 700 /srv/theirs
        echo 'server { listen 127.0.0.1:8088; root /srv/theirs; }' > /etc/nginx/conf.d/theirs.conf
        systemctl reload nginx; sleep 1""",
        level="warning",
        cleans="rm -r /etc/nginx/conf.d/theirs.conf /srv/theirs; systemctl reload nginx",
    ),
    "nginx may not open the programs' sockets": Fault(
        "user catmaid-nginx",
        "it isn't in www-data, whose sockets nginx has to open",
        "gpasswd -d catmaid-nginx www-data >/dev/null",
    ),
    # ---- certificates ----
    "an expired certificate": Fault(
        "TLS of localhost",
        "the certificate ended 3 days ago: browsers refuse the site",
        f"cat > {SELF_SIGNED}/fullchain.pem <<'E'\n{EXPIRED}E\n"
        f"cat > {SELF_SIGNED}/privkey.pem <<'E'\n{EXPIRED_KEY}E\nsystemctl reload nginx; sleep 1",
    ),
    "a certificate that ends soon": Fault(
        "TLS of localhost",
        "the certificate ends in 20 days",
        f"cat > {SELF_SIGNED}/fullchain.pem <<'E'\n{SOON}E\n"
        f"cat > {SELF_SIGNED}/privkey.pem <<'E'\n{SOON_KEY}E\nsystemctl reload nginx; sleep 1",
        level="warning",
    ),
    "a self-signed certificate that is gone": Fault(
        "site[localhost].tls.certificate",
        f"{SELF_SIGNED}/privkey.pem is missing or broken, and nginx would not start again",
        f"rm {SELF_SIGNED}/privkey.pem",
    ),
    "a key that everybody can read": Fault(
        "site[localhost].tls.key",
        f"{SELF_SIGNED}/privkey.pem can be read by everybody",
        f"chmod 644 {SELF_SIGNED}/privkey.pem",
    ),
    "a certificate of another name": _own("certificate", "/etc/ssl/lab.pem is for lab.org, and not for ", ("lab.org",)),
    "a certificate that is none": _own(
        "certificate", "isn't a certificate in PEM form", change="echo nonsense > /etc/ssl/lab.pem"
    ),
    "a certificate that is gone": _own("certificate", "/etc/ssl/lab.pem isn't there", change="rm /etc/ssl/lab.pem"),
    "a key of another certificate": _own(
        "key",
        "doesn't belong to the certificate /etc/ssl/lab.pem",
        change=f"cat > /etc/ssl/private/lab.key <<'E'\n{EXPIRED_KEY}E\n",
    ),
    "a key with a passphrase": _own("key", "isn't a key in PEM form without a passphrase", locked=True),
    # ---- the application's files ----
    "files that the application can't write": Fault(
        "site.instances[catmaid].files_folder",
        f"www-data can't write in {FILES}",
        f"chown root {FILES}; chmod 755 {FILES}",
    ),
    "settings that the application can't read": Fault(
        "site.instances[catmaid].user",
        f"www-data can't read {SETTINGS}",
        f"cp -p {SETTINGS} /root/read.py; chown root {SETTINGS}; chmod 600 {SETTINGS}",
        cleans=f"setfacl -b {SETTINGS}; "
        + "; ".join(f"{change} --reference=/root/read.py {SETTINGS}" for change in ("chmod", "chown")),
    ),
    "no settings": Fault(
        "site.instances[catmaid].checkout",
        f"{SETTINGS} isn't there",
        f"mv {SETTINGS} /root/gone.py",
        f"mv /root/gone.py {SETTINGS}",
    ),
    "no WSGI file": Fault(
        "site.instances[catmaid].wsgi_file",
        "mysite/django.wsgi isn't there",
        f"mv {CHECKOUT}/django/projects/mysite/django.wsgi /root/",
        f"mv /root/django.wsgi {CHECKOUT}/django/projects/mysite/",
    ),
    "no checkout": Fault(
        "site.instances[catmaid].checkout",
        f"{CHECKOUT} isn't there",
        f"mv {CHECKOUT} {CHECKOUT}.gone",
        f"mv {CHECKOUT}.gone {CHECKOUT}",
    ),
    "no folder for files": Fault(
        "site.instances[catmaid].files_folder", f"{FILES} isn't there", f"mv {FILES} /root/files-of-before"
    ),
    "no virtualenv": Fault(
        "site.instances[catmaid].virtualenv",
        f"{VIRTUALENV} isn't there",
        f"mv {VIRTUALENV} {VIRTUALENV}.gone",
        f"mv {VIRTUALENV}.gone {VIRTUALENV}",
    ),
    "a Python that doesn't run": Fault(
        "site.instances[catmaid].virtualenv",
        f"{VIRTUALENV}/bin/python doesn't run (broken)",
        f"cd {VIRTUALENV}/bin; cp -a python python.gone; rm python; "
        "printf '#!/bin/sh\\necho broken >&2; exit 1\\n' > python; chmod 755 python",
        f"cd {VIRTUALENV}/bin; mv -f python.gone python",
    ),
    "a virtualenv of another Python": Fault(
        "site.instances[catmaid].virtualenv",
        "it was made for another Python than ",
        f"cd {VIRTUALENV}/lib; mv python3* gone",
        f"cd {VIRTUALENV}/lib; mv gone $(basename $(readlink -f /usr/bin/python3))",
    ),
    "another address in settings.py": Fault(
        "site.instances[catmaid].prefix",
        "doesn't fit FORCE_SCRIPT_NAME = '/other' in ",
        _settings('FORCE_SCRIPT_NAME = "/other"'),
        OLD_SETTINGS,
    ),
    "static files are collected elsewhere": Fault(
        "site.instances[catmaid].static_folder",
        "isn't Django's STATIC_ROOT, which is /srv/other",
        _settings('STATIC_ROOT = "/srv/other"'),
        OLD_SETTINGS,
    ),
    "users' files are written elsewhere": Fault(
        "site.instances[catmaid].files_folder",
        "isn't Django's MEDIA_ROOT, which is /srv/other",
        _settings('MEDIA_ROOT = "/srv/other"'),
        OLD_SETTINGS,
    ),
    "links to users' files lead elsewhere": Fault(
        "site.instances[catmaid].prefix",
        "MEDIA_URL = '/media/', and users' files are at /catmaid/files/: links to them lead nowhere",
        _settings('MEDIA_URL = "/media/"') + f"; {READ_SETTINGS}",
        f"{OLD_SETTINGS}; {READ_SETTINGS}",
    ),
    "a cookie for another path": Fault(
        "login of catmaid",
        "SESSION_COOKIE_PATH = '/tracing', and the application is at /catmaid/: nobody stays logged in",
        _settings('SESSION_COOKIE_PATH = "/tracing"') + f"; {READ_SETTINGS}",
        f"{OLD_SETTINGS}; {READ_SETTINGS}",
    ),
    "a cookie for another host": Fault(
        "login of catmaid",
        "CSRF_COOKIE_DOMAIN = 'example.org', which localhost isn't in: nobody stays logged in",
        _settings('CSRF_COOKIE_DOMAIN = "example.org"') + f"; {READ_SETTINGS}",
        f"{OLD_SETTINGS}; {READ_SETTINGS}",
    ),
    "a cookie that travels in the open": Fault(
        "cookies of catmaid",
        "SESSION_COOKIE_SECURE isn't True: browsers send it by HTTP as well, where others can read it",
        _settings("SESSION_COOKIE_SECURE = False") + f"; {READ_SETTINGS}",
        f"{OLD_SETTINGS}; {READ_SETTINGS}",
        level="warning",
    ),
    "settings in a folder that is served": Fault(
        "site.instances[catmaid].files_folder",
        f"{FILES} has a file of settings in it, settings.py, which nginx would serve",
        f"touch {FILES}/settings.py",
        f"rm {FILES}/settings.py",
    ),
    "no such user": Fault(
        "site.instances[catmaid].user", "there is no user 'tracer'", described=_no_user, cleans="userdel tracer"
    ),
    "no such group": Fault(
        "site.instances[catmaid].runtime_group",
        "there is no group 'tracer'",
        described=_no_group,
        cleans="groupdel tracer",
    ),
    "a user who may become root": Fault(
        "site.instances[catmaid].user",
        "'www-data' has the rights of 'disk', and so root's, which web pages must not have",
        "usermod -aG disk www-data",
        "gpasswd -d www-data disk >/dev/null",
    ),
    "a link of root's in a folder that is served": Fault(
        "site.instances[catmaid].files_folder",
        f"{FILES}/old is a link to what another user owns: who asks for what is behind it gets 403",
        f"install -d -o www-data /srv/old; ln -s /srv/old {FILES}/old",
        f"rm {FILES}/old; su -s /bin/sh www-data -c 'ln -s /srv/old {FILES}/old'",
        level="warning",
        cleans=f"rm -r {FILES}/old /srv/old",
    ),
    "no static file": Fault(
        "static file of catmaid",
        f"there is no .js file below {CHECKOUT}/django/static",
        f"rm -r {CHECKOUT}/django/static/*",
        glance="",
    ),
    # ---- tiles ----
    "a parent folder that nginx can't enter": Fault(
        "site.tiles[fafb].folder", "catmaid-nginx can't enter /data", "chmod 700 /data", cleans="chmod 755 /data"
    ),
    "a tile disk that isn't mounted": Fault(
        "site.tiles[fafb].mount",
        "/data/disk isn't mounted, its tiles answer 503",
        # nginx keeps tiles open for a minute.
        "umount -l /data/disk",
        f"{MOUNT}; {PUT_TILES}",
        privileged=True,
    ),
    "nobody watches over the disks": Fault("disks", "nobody watches over them", "systemctl stop catmaid-disks.service"),
    "tiles that the application may change": Fault(
        "site.tiles[fafb].folder",
        f"{TILES} can be changed by www-data, and nginx follows a link there to whatever nginx may read",
        f"chown www-data {TILES}",
        f"chown root {TILES}",
        level="warning",
    ),
    "a missing fallback image": Fault(
        "site.tiles[fafb].fallback", "/srv/grey.jpg isn't there", "mv /srv/grey.jpg /srv/g", "mv /srv/g /srv/grey.jpg"
    ),
    "a fallback image that is the system's": Fault(
        "site.tiles[fafb].fallback",
        "/etc/hostname is the system's, and nginx would serve it",
        described=_tiles(fallback="/etc/hostname"),
    ),
    "a missing marker": Fault(
        "site.tiles[fafb].marker", "/data/disk/.there isn't there", "rm /data/disk/.there", "touch /data/disk/.there"
    ),
    "a missing folder of tiles": Fault(
        "site.tiles[fafb].folder", f"{TILES} isn't there", f"mv {TILES} {TILES}.gone", f"mv {TILES}.gone {TILES}"
    ),
    "tiles in a folder of the system's": Fault(
        "site.tiles[fafb].folder",
        "/etc is the system's, and nginx would serve what is in it",
        described=_tiles(folder="/etc", mount=None),
    ),
    "nothing tells whether a disk is there": Fault(
        "site.tiles[fafb].marker",
        "/data/disk is a mount point, and there without its disk as well",
        described=_tiles(folder="/data/disk", mount=None, marker=None),
    ),
    "no tile in it": Fault(
        "tile of fafb",
        f"there is no .jpg file below {TILES}, and no volume",
        f"mv {TILES}/0/1_2_0.jpg {TILES}/0/1_2_0.png",
        f"mv {TILES}/0/1_2_0.png {TILES}/0/1_2_0.jpg",
        glance="",
    ),
    # ---- what an application needs ----
    "a dead broker": Fault(
        "broker of catmaid",
        "it doesn't answer: ",
        "systemctl stop rabbitmq-server",
    ),
    "a dead broker that the application waits for": Fault(
        "broker of catmaid",
        "it doesn't answer: ",
        f"touch {CHECKOUT}/django/DECLARES_EXCHANGE; systemctl stop rabbitmq-server",
        cleans=f"rm {CHECKOUT}/django/DECLARES_EXCHANGE",
    ),
    "broker and channel layer have a vhost each": Fault(
        "notice of catmaid",
        "Celery's broker is localhost:5672, vhost '/', and CHANNEL_LAYERS leads to localhost:5672, vhost 'channels': "
        "what tasks tell users' pages is lost",
        "rabbitmqctl -q add_vhost channels; rabbitmqctl -q set_permissions -p channels guest '.*' '.*' '.*'\n"
        + _settings('CHANNEL_LAYERS["default"]["CONFIG"]["host"] = "amqp://guest:guest@127.0.0.1:5672/channels"')
        + f"; {READ_SETTINGS}",
        then="configuration of programs of catmaid",
        glance="",
        cleans=f"{OLD_SETTINGS}\n{READ_SETTINGS}\nrabbitmqctl -q delete_vhost channels",
    ),
    "notices that reach no page": Fault(
        "notice of catmaid",
        "what tasks tell users' pages doesn't reach a WebSocket: RuntimeError: it doesn't arrive within 10 s",
        _settings('CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}')
        + f"; {READ_SETTINGS}",
        f"{OLD_SETTINGS}; {READ_SETTINGS}",
        glance="",
    ),
    "the database is down": Fault(
        "database of catmaid",
        "it doesn't answer: OperationalError",
        "mv /srv/database /srv/away",
        "mv /srv/away /srv/database",
    ),
    "a database that may take more memory than there is": Fault(
        "workers",
        " MiB (PostgreSQL's work_mem) = ",
        "install -d /etc/postgresql/15/main; echo 'work_mem = 900GB' > /etc/postgresql/15/main/postgresql.conf",
        "rm -r /etc/postgresql",
        level="warning",
    ),
    "nothing listens for the database": Fault(
        "site.instances[catmaid].database", "nothing answers at 127.0.0.1:5999", described=_another_port
    ),
    # ---- the host ----
    "a kernel with short queues": Fault(
        "kernel",
        "net.core.somaxconn is 128: so few requests may wait for uWSGI, further ones get 502",
        "mount -o remount,rw /proc/sys; echo 128 > /proc/sys/net/core/somaxconn",
        "echo 4096 > /proc/sys/net/core/somaxconn",
        level="warning",
        privileged=True,
    ),
    "a full disk": Fault(
        "space",
        f"{FILES} has 0 B of 20 MiB free",
        f"mount -t tmpfs -o size=20m,mode=777 tmpfs {FILES}; head -c 30m /dev/zero > {FILES}/full || true",
        f"umount {FILES}",
        privileged=True,
    ),
    "a disk with room for no more files": Fault(
        "space",
        f"{FILES} has room for no more files",
        f"mount -t tmpfs -o size=20m,nr_inodes=9,mode=777 tmpfs {FILES}; touch {FILES}/1 {FILES}/2 {FILES}/3 {FILES}/4 "
        f"{FILES}/5 {FILES}/6 {FILES}/7 {FILES}/8 2>/dev/null || true",
        f"umount {FILES}",
        privileged=True,
    ),
    "no room for packages": Fault(
        "space",
        "20 MiB are free on /var/cache/apt/archives, 50 MiB are needed",
        "mount -t tmpfs -o size=20m tmpfs /var/cache/apt/archives",
        "umount /var/cache/apt/archives",
        privileged=True,
    ),
    "a disk that fills": Fault(
        "space",
        f"{FILES} has 2.0 MiB of 20 MiB free",
        f"mount -t tmpfs -o size=20m,mode=777 tmpfs {FILES}; head -c 18m /dev/zero > {FILES}/full; "
        # Nothing was written there lately.
        f"touch -d '30 days ago' {FILES}/full",
        f"umount {FILES}",
        level="warning",
        privileged=True,
    ),
    "a clock a day off": Fault(
        "clock", " s behind this machine's: logins, certificates and tasks go wrong", ahead=86400
    ),
    "a deleted socket folder": Fault(
        "sockets of catmaid", "/run/catmaid isn't there, and so nobody reaches its programs", "rm -r /run/catmaid"
    ),
    "a deleted link to a socket": Fault(
        "sockets of catmaid",
        "/run/catmaid/uwsgi.socket doesn't lead to its program, and so nobody reaches that",
        "rm /run/catmaid/uwsgi.socket",
    ),
    "logs that aren't rotated": Fault(
        "logs",
        "they aren't rotated: logrotate.timer is off",
        "systemctl disable --now logrotate.timer 2>/dev/null",
    ),
    "a log that is too large": Fault(
        "logs",
        "/var/log/catmaid/more.log has 200 MiB and isn't rotated",
        "truncate -s 200M /var/log/catmaid/more.log; chown www-data /var/log/catmaid/more.log",
        cleans="rm /var/log/catmaid/more.log*",
    ),
    "an update that waits for a reboot": Fault(
        "packages",
        "an update waits for a reboot",
        "touch /run/reboot-required",
        "rm /run/reboot-required",
        level="warning",
    ),
    "a run that was cut": Fault(
        "deploy",
        " was cut before its end",
        """python3 - <<'E'
import json
path = "/var/lib/catmaid-deploy/last-run.json"
run = json.load(open(path))
run["ended"] = None
json.dump(run, open(path, "w"))
E""",
        level="warning",
    ),
    "closed and forgotten": Fault(
        "maintenance",
        "/etc/catmaid/maintenance is there, users see the notice",
        "touch /etc/catmaid/maintenance",
        level="warning",
    ),
}

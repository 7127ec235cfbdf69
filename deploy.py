"""CATMAID behind nginx: the deploy from top to bottom.

pyinfra inventories/prod.py deploy.py                 shows what it would change, asks, does it
pyinfra inventories/prod.py deploy.py --dry --diff    shows the changes of every file, does nothing
"""

from tasks import celery, daphne, folders, logs, nginx, packages, preflight, supervisor, uwsgi

site, survey = preflight.check()

packages.install(survey)
folders.create(site)
logs.rotate(site)

supervisor.configure_units(survey)
supervisor.start_daemon()
for instance in site.instances:
    uwsgi.install(instance, survey)
    programs = [uwsgi.configure(instance), daphne.configure(instance), *celery.configure(instance)]
    supervisor.apply(instance, programs)

nginx.apply(site, survey)

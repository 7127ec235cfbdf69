"""Closes CATMAID for users, who see the maintenance page, and opens it again.

pyinfra inventories/prod.py runbooks/maintenance.py --data maintenance=on
pyinfra inventories/prod.py runbooks/maintenance.py --data maintenance=off

With on, you can choose one instance, and replace what the inventory says under maintenance:
--data instance=catmaid-fafb --data "text=A new disk is built in." --data end=2026-12-01T18:00+01:00
--data allow=192.0.2.7,198.51.100.0/24 (who may still use CATMAID)
"""

from pyinfra import local

local.include("./../deploy.py", {"job": "maintenance"})

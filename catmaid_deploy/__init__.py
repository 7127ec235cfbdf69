"""The deploy as a package that a lab's own repository depends on (docs/lab.md).

In a wheel this folder has `deploy.py`, `tasks`, `templates` and all the rest in it as well: nothing of it takes a
name of its own in site-packages.
"""

# What uWSGI's "mount" names (CATMAID makes this file from django.wsgi.example).
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mysite.wsgi import application  # noqa: E402,F401

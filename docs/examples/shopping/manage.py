"""A shared shopping list on Django: its session cookie logs in, its permissions decide, its transactions publish.

    python manage.py migrate
    python manage.py demo
    python manage.py runserver 8080

fairlead.toml beside this file is the edges' configuration; docs/python.md says how to start everything.
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_app.settings")
    execute_from_command_line(sys.argv)

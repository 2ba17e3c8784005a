"""Django's settings. The last section is Fairlead's."""

import os
from pathlib import Path
from urllib.parse import urlsplit

BASE = Path(__file__).resolve().parents[1]
SECRET_KEY = os.environ["SESSION_SECRET"]
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "django_app.urls"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django_app.apps.ShoppingConfig",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
_DATABASE = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _DATABASE.path[1:],
        "USER": _DATABASE.username,
        "PASSWORD": _DATABASE.password,
        "HOST": _DATABASE.hostname,
        "PORT": _DATABASE.port,
    }
}

FAIRLEAD_URL = os.environ.get("FAIRLEAD_URL", "http://127.0.0.1:8000")
FAIRLEAD_API_KEY = os.environ["FAIRLEAD_HTTP_API_KEY"]
FAIRLEAD_HOOK_SECRET = os.environ.get("HOOK_SECRET", "the-example-s-own-secret")
FAIRLEAD_ASK_AGAIN_S = float(os.environ.get("ASK_AGAIN_S", "60"))
FAIRLEAD_OUTBOX_SQL = os.environ.get("OUTBOX_SQL", str(BASE.parents[2] / "services/sessions/outbox/outbox.sql"))

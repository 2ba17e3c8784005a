from django.conf import settings
from django.urls import path
from django.views.static import serve

from django_app import realtime, views

urlpatterns = [
    path("", views.index),
    path("page/<path:path>", serve, {"document_root": settings.BASE / "page"}),
    path("login", views.log_in),
    path("logout", views.log_out),
    path("me", views.me),
    path("lists/<int:list_id>", views.items),
    path("lists/<int:list_id>/items", views.add),
    path("lists/<int:list_id>/nudge", views.nudge),
    path("realtime/connect", realtime.connect),
    path("realtime/refresh", realtime.refresh),
    path("realtime/subscribe", realtime.subscribe),
    path("realtime/rpc", realtime.rpc),
    path("realtime/events", realtime.events),
]

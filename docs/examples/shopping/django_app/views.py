"""The application, as browsers see it."""

import json
import logging
from collections.abc import Callable
from functools import wraps

from django.conf import settings
from django.contrib.auth import authenticate, login, logout
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.forms import ModelForm
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST

from django_app.models import Item, ShoppingList, Visit
from django_app.outbox import publish_with_transaction
from django_app.permissions import may_see
from fairlead import Fairlead, FairleadError

log = logging.getLogger(__name__)

MOST_ITEMS = 5
FAIRLEAD = Fairlead(settings.FAIRLEAD_URL, settings.FAIRLEAD_API_KEY)
REALTIME = settings.FAIRLEAD_URL.replace("http", "ws", 1) + "/connection/websocket"

SESSION_ENDED = {"code": 4000, "reason": "session ended"}  # clients connect again; a user still logged in may


class ListFull(Exception):
    pass


class NewItem(ModelForm):
    class Meta:
        model = Item
        fields = ("text",)


def for_members(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @wraps(view)
    def checked(request: HttpRequest, list_id: int) -> HttpResponse:
        if not may_see(request.user, list_id):
            raise PermissionDenied
        return view(request, list_id)

    return checked


@require_GET
@ensure_csrf_cookie
def index(request: HttpRequest) -> FileResponse:
    return FileResponse(open(settings.BASE / "page/index.html", "rb"))


@require_POST
def log_in(request: HttpRequest) -> HttpResponse:
    form = json.loads(request.body)
    user = authenticate(request, username=form["name"], password=form["password"])
    if user is None:
        return JsonResponse({"detail": "wrong name or password"}, status=400)
    login(request, user)
    return HttpResponse(status=204)


@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    user = request.user
    logout(request)
    if user.is_authenticated:
        try:
            FAIRLEAD.call("disconnect", user=str(user.pk), disconnect=SESSION_ENDED, repeatable=True)
        except FairleadError:
            log.exception("%s has logged out, and is connected until Fairlead asks again", user)
    return HttpResponse(status=204)


@require_GET
def me(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"user": request.user.get_username() or None, "realtime": REALTIME, "list": 1})


@require_GET
@for_members
def items(request: HttpRequest, list_id: int) -> JsonResponse:
    found = ShoppingList.objects.get(pk=list_id)
    shown = [item.shown() for item in found.items.order_by("pk")]
    last = Visit.objects.filter(list_id=list_id).order_by("user", "-ended_at").distinct("user").select_related("user")
    return JsonResponse({"name": found.name, "items": shown, "left": [visit.shown() for visit in last]})


@require_POST
@for_members
def add(request: HttpRequest, list_id: int) -> HttpResponse:
    form = NewItem(json.loads(request.body))
    if not form.is_valid():
        return JsonResponse({"detail": "expected a text of at most 200 characters"}, status=422)
    try:
        with transaction.atomic():
            item = Item.objects.create(list_id=list_id, text=form.cleaned_data["text"])
            publish_with_transaction(list_id, {"item": item.shown()})
            if Item.objects.filter(list_id=list_id).count() > MOST_ITEMS:
                raise ListFull  # rolled back: the item is not published
    except ListFull:
        return JsonResponse({"detail": "the list is full"}, status=409)
    return HttpResponse(status=204)


@require_POST
@for_members
def nudge(request: HttpRequest, list_id: int) -> HttpResponse:
    """Publishes to users who are there now: no row, no history."""
    FAIRLEAD.publish(f"lists:{list_id}", {"nudge": request.user.get_username().title()}, skip_history=True)
    return HttpResponse(status=204)

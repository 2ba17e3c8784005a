"""What Fairlead asks. A question is a request with the browser's cookie, so `request.user` is who connects."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from django_app.models import Item
from django_app.outbox import publish_with_transaction
from django_app.permissions import may_see
from fairlead import SIGNATURE_HEADER, BadSignature, verify

Answer = dict[str, Any]


def asked_by_fairlead(answer: Callable[[HttpRequest, Any], Answer]) -> Callable[[HttpRequest], HttpResponse]:
    """A view for Fairlead alone: its signature takes the place of Django's protection against forged requests."""

    @csrf_exempt
    @require_POST
    @wraps(answer)
    def checked(request: HttpRequest) -> HttpResponse:
        try:
            verify(settings.FAIRLEAD_HOOK_SECRET, request.headers.get(SIGNATURE_HEADER), request.body)
        except BadSignature as error:
            return JsonResponse({"detail": str(error)}, status=401)
        return JsonResponse(answer(request, json.loads(request.body)))

    return checked


@asked_by_fairlead
def connect(request: HttpRequest, question: Any) -> Answer:
    if not request.user.is_authenticated:
        return {"disconnect": {"code": 4501, "reason": "log in first"}}
    return {"result": {"user": str(request.user.pk), "info": {"name": request.user.get_username().title()}}}


@asked_by_fairlead
def subscribe(request: HttpRequest, question: Any) -> Answer:
    list_id = question["channel"].removeprefix("lists:")
    if not list_id.isdecimal() or not may_see(User.objects.get(pk=question["user"]), int(list_id)):
        return {"error": {"code": 103, "message": "permission denied"}}
    return {"result": {}}


@asked_by_fairlead
def rpc(request: HttpRequest, question: Any) -> Answer:
    if question["method"] != "buy":
        return {"error": {"code": 104, "message": "method not found"}}
    with transaction.atomic():
        found = Item.objects.select_for_update().filter(pk=question["data"]["item"]).first()
        if found is None or not may_see(User.objects.get(pk=question["user"]), found.list_id):
            return {"error": {"code": 404, "message": "there is no such item"}}
        found.bought = True
        found.save(update_fields=["bought"])
        publish_with_transaction(found)
    return {"result": {"data": {}}}

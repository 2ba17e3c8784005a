"""What Fairlead asks. A question is a request with the browser's cookie, so `request.user` is the user who connects."""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from django_app.models import Item, Visit
from django_app.outbox import publish_with_transaction
from django_app.permissions import may_see
from fairlead import SIGNATURE_HEADER, BadSignature, verify
from fairlead.events import Unsubscribed, WebhookBody
from fairlead.hooks import (
    Answer,
    ConnectQuestion,
    ConnectResult,
    RefreshQuestion,
    RefreshResult,
    RPCQuestion,
    RPCResult,
    SubscribeQuestion,
    SubscribeResult,
)

LIST = re.compile(r"lists:([1-9][0-9]{0,8})")


def asked_by_fairlead(answer: Callable[[HttpRequest, Any], Any]) -> Callable[[HttpRequest], HttpResponse]:
    """A view only for Fairlead: its signature takes the place of Django's protection against forged requests."""

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


def until_asked_again() -> float:
    """A connection expires after a minute, and Fairlead asks `refresh`: has its session ended?"""
    return time.time() + settings.FAIRLEAD_ASK_AGAIN_S


@asked_by_fairlead
def connect(request: HttpRequest, question: ConnectQuestion) -> Answer[ConnectResult]:
    if not request.user.is_authenticated:
        return {"disconnect": {"code": 4501, "reason": "log in first"}}
    user, info = str(request.user.pk), {"name": request.user.get_username().title()}
    return {"result": {"user": user, "info": info, "expire_at": until_asked_again()}}


@asked_by_fairlead
def refresh(request: HttpRequest, question: RefreshQuestion) -> Answer[RefreshResult]:
    """The cookie is the one of the connect. If its session has ended, the browser connects again with its present
    cookie: Django replaces it when a password is changed."""
    if not request.user.is_authenticated:
        return {"result": {"expired": True}}
    return {"result": {"expire_at": until_asked_again()}}


@asked_by_fairlead
def subscribe(request: HttpRequest, question: SubscribeQuestion) -> Answer[SubscribeResult]:
    found = LIST.fullmatch(question["channel"])
    if found is None or not may_see(request.user, int(found[1])):
        return {"error": {"code": 103, "message": "permission denied"}}
    return {"result": {}}


@asked_by_fairlead
def rpc(request: HttpRequest, question: RPCQuestion) -> Answer[RPCResult]:
    if question.get("method") != "buy":
        return {"error": {"code": 104, "message": "method not found"}}
    match question.get("data"):  # a client may have sent anything
        case {"item": int(item)}:
            return buy(request, item)
    return {"error": {"code": 400, "message": 'expected {"item": 17}'}}


@transaction.atomic
def buy(request: HttpRequest, item: int) -> Answer[RPCResult]:
    found = Item.objects.select_for_update().filter(pk=item).first()
    if found is None or not may_see(request.user, found.list_id):
        return {"error": {"code": 404, "message": "there is no such item"}}
    found.bought = True
    found.save(update_fields=["bought"])
    publish_with_transaction(found.list_id, {"item": found.shown()})
    return {"result": {}}


@asked_by_fairlead
def events(request: HttpRequest, body: WebhookBody) -> dict[str, object]:
    """Webhooks: who has left a list. Any JSON with status 200 confirms that we have stored them."""
    for event in body["events"]:
        if event["type"] == "unsubscribed" and (found := LIST.fullmatch(event["channel"])):
            left(int(found[1]), event)
    return {}


@transaction.atomic
def left(list_id: int, event: Unsubscribed) -> None:
    """Stores the visit, and tells users who are there. An event may come again, so its id is the key of the row."""
    user = User.objects.filter(pk=event.get("user")).first()
    if user is None:
        return  # the user has been deleted
    ended_at = datetime.fromtimestamp(event["at"] / 1000, UTC)
    told = {"list_id": list_id, "user": user, "ended_at": ended_at}
    visit, new = Visit.objects.get_or_create(id=event["id"], defaults=told)
    if new:
        publish_with_transaction(list_id, {"left": visit.shown()})

"""Answers about what the application sees of the servers in front of it."""

import hashlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from celery import current_app
from django.conf import settings
from django.contrib import auth
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.urls import reverse
from django.utils.text import get_valid_filename
from django.views.decorators.csrf import csrf_protect, ensure_csrf_cookie
from django.views.decorators.http import require_http_methods, require_POST

from . import broken, tasks
from .models import Note

log = logging.getLogger("mysite")


def log_requests(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: one line a request, the proof of what reached the application and what did not."""

    def middleware(request: HttpRequest) -> HttpResponse:
        log.info("request %s %s", request.method, request.get_full_path())
        broken.at_request()
        return get_response(request)

    return middleware


def _seen(request: HttpRequest) -> dict[str, object]:
    broken.at_query()
    return {
        "release": settings.RELEASE,
        "version": getattr(settings, "VERSION", None),
        "script_name": request.META.get("SCRIPT_NAME"),
        "path_info": request.path_info,
        "path": request.path,
        "query": request.META.get("QUERY_STRING"),
        "method": request.method,
        "host": request.get_host(),
        "scheme": request.scheme,
        "absolute": request.build_absolute_uri(reverse("index")),
        "client": request.META.get("REMOTE_ADDR"),
        "forwarded_for": request.META.get("HTTP_X_FORWARDED_FOR"),
        "static_url": settings.STATIC_URL,
        "pid": os.getpid(),
        "python": sys.version.split()[0],
        "environment": os.environ.get("STANDIN_GREETING"),
        "time": time.time(),
    }


def index(request: HttpRequest) -> HttpResponse:
    base = reverse("index")
    return render(
        request,
        "index.html",
        {
            "seen": _seen(request),
            "base": base,
            "channels": base + "channels/echo/",
            "media_url": settings.MEDIA_URL,
            "tiles": os.environ.get("STANDIN_TILES"),
            "tables": settings.TABLES,
        },
    )


if settings.TABLES:
    # For its form.
    index = ensure_csrf_cookie(index)


def whoami(request: HttpRequest) -> JsonResponse:
    return JsonResponse(_seen(request))


def sent(request: HttpRequest) -> JsonResponse:
    """All that the servers in front passed on, headers and what came with them."""
    return JsonResponse({name: value for name, value in request.META.items() if isinstance(value, str)})


def show_path(request: HttpRequest, rest: str) -> JsonResponse:
    return JsonResponse({"path_info": request.path_info, "rest": rest, "query": request.META["QUERY_STRING"]})


def redirect_home(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(reverse("index"))


@csrf_protect
def form(request: HttpRequest) -> JsonResponse:
    """As CATMAID's login: a token first, and with it what changes something."""
    response = JsonResponse({"token": get_token(request), "method": request.method})
    response.set_cookie("login", "yes", secure=request.is_secure())
    return response


def slow(request: HttpRequest) -> JsonResponse:
    seconds = min(float(request.GET.get("seconds", "1")), 600)
    time.sleep(seconds)
    return JsonResponse({"slept": seconds, "pid": os.getpid(), "release": settings.RELEASE})


def large(request: HttpRequest) -> StreamingHttpResponse:
    size = min(int(request.GET.get("bytes", "1000000")), 1 << 30)

    def chunks() -> Iterator[bytes]:
        left = size
        while left > 0:
            yield b"x" * min(left, 65536)
            left -= 65536

    response = StreamingHttpResponse(chunks(), content_type="application/octet-stream")
    response["Content-Length"] = str(size)
    return response


def body(request: HttpRequest) -> JsonResponse:
    data = request.body
    return JsonResponse({"size": len(data), "sha256": hashlib.sha256(data).hexdigest()})


def upload(request: HttpRequest) -> JsonResponse:
    file = request.FILES.get("file")
    if file is None or file.name is None:
        return JsonResponse({"error": "no file"}, status=400)
    name = get_valid_filename(file.name)
    with (Path(settings.MEDIA_ROOT) / name).open("wb") as target:
        for chunk in file.chunks():
            target.write(chunk)
    return JsonResponse({"name": name, "size": file.size, "url": settings.MEDIA_URL + name})


def task(request: HttpRequest) -> JsonResponse:
    """Send a task to the worker and wait for its result, at most 20 s."""
    x, y = int(request.GET.get("x", "2")), int(request.GET.get("y", "3"))
    started = time.monotonic()
    result = tasks.add.delay(x, y).get(timeout=20)
    return JsonResponse({"result": result, "seconds": round(time.monotonic() - started, 3)})


def heartbeats(request: HttpRequest) -> JsonResponse:
    file = Path(settings.MEDIA_ROOT) / "heartbeat.txt"
    return JsonResponse({"times": [float(t) for t in file.read_text().split()] if file.exists() else []})


@require_http_methods(["GET", "POST", "DELETE"])
def marks(request: HttpRequest) -> JsonResponse:
    """Send a task for each number from ``first`` to before ``last``; tell which have run; forget those."""
    files = [Path(settings.MEDIA_ROOT) / name for name in ("marks.txt", "marks-late.txt")]
    late = request.GET.get("late", "0") == "1"
    if request.method == "POST":
        numbers = range(int(request.GET.get("first", "0")), int(request.GET.get("last", "1")))
        mark = tasks.mark_late if late else tasks.mark
        with current_app.producer_pool.acquire(block=True) as producer:
            for number in numbers:
                mark.apply_async((number,), producer=producer)
        return JsonResponse({"sent": len(numbers)})
    if request.method == "DELETE":
        for file in files:
            file.unlink(missing_ok=True)
        return JsonResponse({})
    return JsonResponse({"numbers": [int(n) for n in files[late].read_text().split()] if files[late].exists() else []})


@require_POST
def slow_mark(request: HttpRequest) -> JsonResponse:
    seconds, number = float(request.GET.get("seconds", "60")), int(request.GET.get("number", "1"))
    tasks.slow_mark.delay(seconds, number)
    return JsonResponse({"sent": 1})


@require_POST
def notice(request: HttpRequest) -> JsonResponse:
    """Have a task tell all pages without a login."""
    tasks.notify.delay(None, request.GET.get("text", "done"))
    return JsonResponse({"sent": 1})


@require_POST
def export(request: HttpRequest) -> JsonResponse:
    """Have a task write a file for users; tell where it will be."""
    name = get_valid_filename(request.GET.get("name", "export.txt"))
    tasks.export.delay(name, request.GET.get("text", "done"))
    return JsonResponse({"url": settings.MEDIA_URL + name})


@require_POST
@csrf_protect
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign a user in by name and password, where there are tables of users."""
    user = auth.authenticate(request, username=request.POST.get("name"), password=request.POST.get("pwd"))
    if user is None:
        return JsonResponse({"error": "wrong name or password"}, status=403)
    auth.login(request, user)
    return HttpResponseRedirect(reverse("index"))


@require_http_methods(["GET", "POST"])
def notes(request: HttpRequest) -> JsonResponse:
    """What users have written; a user who is signed in writes one more."""
    if request.method == "POST":
        if not request.user.is_authenticated:
            return JsonResponse({"error": "sign in first"}, status=403)
        Note.objects.create(text=request.POST.get("text", ""))
    return JsonResponse({"notes": list(Note.objects.order_by("id").values_list("text", flat=True))})

import time

from django.conf import settings
from django.urls import path, re_path

from . import broken, views

broken.at_import()
time.sleep(settings.URL_SECONDS)

urlpatterns = [
    path("", views.index, name="index"),
    path("whoami", views.whoami, name="whoami"),
    path("sent", views.sent, name="sent"),
    re_path(r"^path/(?P<rest>.*)$", views.show_path, name="path"),
    path("redirect", views.redirect_home, name="redirect"),
    path("needs-slash/", views.whoami, name="needs-slash"),
    path("form", views.form, name="form"),
    path("slow", views.slow, name="slow"),
    path("large", views.large, name="large"),
    path("body", views.body, name="body"),
    path("upload", views.upload, name="upload"),
    path("task", views.task, name="task"),
    path("heartbeats", views.heartbeats, name="heartbeats"),
    path("marks", views.marks, name="marks"),
    path("notice", views.notice, name="notice"),
    path("export", views.export, name="export"),
    path("slow-mark", views.slow_mark, name="slow-mark"),
    path("accounts/login", views.sign_in, name="sign-in"),
    path("notes", views.notes, name="notes"),
]

"""A notice of CATMAID's, sent and seen: what `verify` runs in an application's own Python. Joined with the survey.

It goes the way of those that a task sends to a user's page: by the function that CATMAID's tasks call, inside a task,
to the broker, from there through the channel layer to Daphne, and by nginx to a WebSocket. The WebSocket is that of the
user who stands for everybody without a name. No page of a browser is told what this one is: a page without a login has
no user's number at all, and nobody can log in as that user. Its session ends here.
"""

NOTICE = r"""
def see_notice(app, settings, channel):
    import secrets
    from importlib import import_module
    from catmaid.consumers import msg_user
    from django.contrib import auth
    from guardian.utils import get_anonymous_user

    user, event = get_anonymous_user(), "catmaid-deploy-" + secrets.token_hex(16)
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[auth.SESSION_KEY] = str(user.pk)
    session[auth.BACKEND_SESSION_KEY] = next(
        path for path in settings.AUTHENTICATION_BACKENDS if auth.load_backend(path).get_user(user.pk)
    )
    session[auth.HASH_SESSION_KEY] = user.get_session_auth_hash()
    # Where this is killed before it removes it.
    session.set_expiry(60)
    session.save()
    try:
        cookie = "%s=%s" % (settings.SESSION_COOKIE_NAME, session.session_key)
        with opened(channel, cookie) as link:

            def notice():
                msg_user(user.pk, event)

            sent = time.time()
            app.task(name="catmaid-deploy.notice")(notice).apply(throw=True)
            return arrival(link, event.encode(), sent)
    finally:
        session.delete()

def opened(channel, cookie):
    import socket, ssl
    if channel["socket"]:
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(10)
        link.connect(channel["socket"])
    else:
        link = socket.create_connection(("127.0.0.1", channel["port"]), timeout=10)
    if channel["https"] and not channel["socket"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        link = context.wrap_socket(link, server_hostname=channel["host"])
    origin = "%s://%s" % ("https" if channel["https"] else "http", channel["host"])
    lines = ["GET %s HTTP/1.1" % channel["path"], "Host: " + channel["host"], "Origin: " + origin]
    lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    lines += ["Sec-WebSocket-Key: Y2F0bWFpZC1kZXBsb3kgIQ==", "Cookie: " + cookie, "", ""]
    link.sendall("\r\n".join(lines).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = link.recv(1)
        if not data:
            break
        answer += data
    status = answer.split(b" ", 2)[1].decode() if answer.count(b" ") > 1 else "nothing"
    if status != "101":
        raise RuntimeError("its WebSocket is answered %s" % status)
    return link

def arrival(link, event, sent):
    import socket
    seen, end = b"", time.time() + 10
    while event not in seen:
        link.settimeout(max(0.01, end - time.time()))
        try:
            data = link.recv(65536)
        except socket.timeout:
            data = b""
        if not data:
            raise RuntimeError("it doesn't arrive within 10 s")
        seen += data
    seconds = time.time() - sent
    # The end of a WebSocket, as a browser says it.
    link.sendall(b"\x88\x80\0\0\0\0")
    return seconds
"""

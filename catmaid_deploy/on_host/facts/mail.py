"""A mail server, asked as an application asks it: what `verify` runs in its own Python. Joined with the survey.

The server is told from whom a message would come and to whom it would go, and then that there is none, unless one was
asked for. Its certificate is checked, which Django does only from its version 4.2 on.
"""

# It has ten seconds in all, and goes on beside what else is tried.
MAIL = r"""
def words_of(error):
    code, text = getattr(error, "smtp_code", None), getattr(error, "smtp_error", None)
    if code is None:
        return "%s: %s" % (type(error).__name__, error)
    return "%s %s" % (code, text.decode("utf-8", "replace") if isinstance(text, bytes) else text)

def takes(answer):
    import smtplib
    if answer[0] not in (220, 250, 251):
        raise smtplib.SMTPResponseException(*answer)

def ask_mail(settings, to, sends, found):
    import smtplib, ssl
    from email.utils import parseaddr
    from django.core.mail import EmailMessage, get_connection
    from django.core.mail.backends.smtp import EmailBackend
    from django.core.mail.utils import DNS_NAME
    one, found["stage"] = get_connection(timeout=10), "connect"
    if isinstance(one, EmailBackend):
        options = {"local_hostname": DNS_NAME.get_fqdn(), "timeout": 10}
        context = ssl.create_default_context()
        try:
            if one.use_ssl:
                link = smtplib.SMTP_SSL(one.host, one.port, context=context, **options)
            else:
                link = smtplib.SMTP(one.host, one.port, **options)
                if one.use_tls:
                    found["stage"] = "encrypt"
                    takes(link.starttls(context=context))
        except ssl.SSLError:
            found["stage"] = "encrypt"
            raise
        if one.username and one.password:
            found["stage"] = "sign in"
            link.login(one.username, one.password)
        link.ehlo_or_helo_if_needed()
        found["stage"] = "sender"
        takes(link.mail(parseaddr(settings.DEFAULT_FROM_EMAIL)[1]))
        found["stage"] = "recipient"
        takes(link.rcpt(to))
        link.rset()
        link.quit()
    else:
        # What the lab has put in its place has no more to say.
        one.open()
        one.close()
    if sends:
        found["stage"] = "send"
        text = "CATMAID sends mail from here: this one was asked for by verify."
        EmailMessage("CATMAID sends mail", text, None, [to], connection=get_connection(timeout=10)).send()
        found["sent"] = to
    found["stage"] = ""

def begin_mail(settings, to, sends):
    import threading
    found = {"stage": "", "words": "", "sent": ""}

    def ask():
        try:
            ask_mail(settings, to, sends, found)
        except Exception as error:
            found["words"] = words_of(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread, found

def end_mail(begun, until):
    thread, found = begun
    thread.join(max(0.1, until - time.time()))
    return dict(found, words="no answer within 10 s") if thread.is_alive() else found
"""

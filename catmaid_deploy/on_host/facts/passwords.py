"""Whether roles have the passwords that an inventory gives. Runs on the host; prints JSON, and no password."""

from catmaid_deploy.on_host.facts.answer import answer
from catmaid_deploy.on_host.facts.postgresql import begin_about, end_about, password_word


def ask_passwords(question):
    asked = question["given"]
    process = begin_about(question["port"], [{"name": one["user"], "user": one["user"]} for one in asked.values()])
    server, _ = end_about(process)
    roles = server["roles"] if server else {}
    found = {}
    for name, one in asked.items():
        role = roles.get(one["user"])
        found[name] = password_word(role["verifier"], one["password"], one["user"]) if role else "none"
    return {"passwords": found}


answer(ask_passwords)

# The bare host with "the standard installation" in place: the stand-in application, its
# virtualenv and its broker. nginx, uWSGI and Supervisor are what the deploy adds.
ARG BASE
FROM ${BASE}
RUN apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends \
      python3-venv rabbitmq-server >/dev/null && apt-get clean && rm -rf /var/lib/apt/lists/*
# Erlang waits busily for work otherwise: with several hosts on two processors that is a tenth of them.
RUN echo 'SERVER_ADDITIONAL_ERL_ARGS="+sbwt none +sbwtdcpu none +sbwtdio none"' >> /etc/rabbitmq/rabbitmq-env.conf
RUN useradd --create-home --shell /bin/bash catmaid && chmod 755 /home/catmaid \
 && install -d -o catmaid -g catmaid /home/catmaid/catmaid-server/django
COPY requirements.txt requirements-async.txt /tmp/
RUN python3 -m venv /home/catmaid/catmaid-server/django/env \
 && /home/catmaid/catmaid-server/django/env/bin/pip install --quiet --no-cache-dir \
      -r /tmp/requirements.txt -r /tmp/requirements-async.txt \
 && rm /tmp/requirements*.txt

"""All of Fairlead on one machine, without containers and on loopback: what `make up`, `make down` and `make logs` run.

NATS, PostgreSQL, Traefik and the services run under supervisord. Everything that they keep is in `.fairlead/` of this
checkout: data, logs, secrets, and in `run/` the files that describe the running stack. Two checkouts share only ports.
"""

"""The whole of Fairlead on one machine, natively and on loopback: what `make up`, `make down` and `make logs` run.

NATS, PostgreSQL, Traefik and the services run under supervisord. Everything that they keep lies in `.fairlead/` of this
checkout: data, logs, secrets, and in `run/` what describes the running stack. Two checkouts share nothing but ports.
"""

"""What every process needs before it can do its own work: settings, a log, a NATS connection, health, a heartbeat.

A *microservice chassis* in the usual sense. It does not depend on any service: each service passes in what is specific
to it (its sections of the configuration, its figures in the heartbeat, its streams).
"""

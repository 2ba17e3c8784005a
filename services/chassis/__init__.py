"""What every process needs before it can do its own work: settings, a log, a NATS connection, health, a heartbeat.

A *microservice chassis* in the usual sense. It knows none of the services: what is a service's own (its sections of the
configuration, its figures in the heartbeat, its streams) the service hands in.
"""

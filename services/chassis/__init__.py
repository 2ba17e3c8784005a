"""What every process needs before it can do its own work: settings, a log, a NATS connection, health, a heartbeat.

A *microservice chassis* in the usual sense. It knows none of the services.
"""

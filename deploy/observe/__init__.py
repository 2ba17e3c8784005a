"""How operators observe the cluster: Prometheus with its rules, Alertmanager, dashboards."""

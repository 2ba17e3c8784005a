"""What shows the cluster to an operator: Prometheus with its rules, Alertmanager, dashboards."""

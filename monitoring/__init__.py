"""The Grafana dashboard and the alerts, made from the metrics that the code has.

`python -m monitoring` writes them into .k8s/components/monitoring. A test compares.
"""

"""`python -m grafana` writes the dashboards' JSON."""

from grafana.build import write

write()

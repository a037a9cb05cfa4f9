"""The dashboards as code. `make generate` writes their JSON."""

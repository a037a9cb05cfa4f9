"""RabbitMQ and the fleet ledger as Prometheus metrics, read at every scrape."""

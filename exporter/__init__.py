"""RabbitMQ and the fleet ledger as Prometheus metrics, read anew at every scrape."""

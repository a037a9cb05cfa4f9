"""What exporter, scaler and worker share: settings, ledger, job messages, HTTP surface, logging."""

"""What every program of the fleet shares: settings, ledger, HTTP surface, logging, errors."""

"""What the scaler is told: read, checked, shown with its origin, taken in when it changes."""

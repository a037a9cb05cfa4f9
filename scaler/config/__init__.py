"""What the scaler is told: read, checked, shown with its origin, and taken in anew when it changes."""

"""The only part that holds the Docker socket. It reads services and changes a replica count."""

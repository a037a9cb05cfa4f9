"""Docker Swarm, spoken to directly or through the gateway."""

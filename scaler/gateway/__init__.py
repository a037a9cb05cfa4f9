"""The program that alone holds the Docker socket: it shows services and changes a replica count.

It may import `scaler.orchestrators`, for the Swarm engine and the views of services, and nothing
of the scaler that decides.
"""

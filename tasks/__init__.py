"""One module a concern. Each gets a validated Site or Instance and decides from what the host has."""

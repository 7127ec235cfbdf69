"""PostgreSQL on the host, where the deploy makes the databases of instances."""

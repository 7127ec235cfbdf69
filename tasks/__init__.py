"""What is deployed: one module or folder per service, which decides from the inventory and the host what to do."""

"""RabbitMQ on a host, for all instances whose broker isn't elsewhere."""

"""The programs of an instance, under Supervisor."""

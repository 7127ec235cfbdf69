"""What pyinfra's own operations can't do, in its conventions."""

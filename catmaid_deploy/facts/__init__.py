"""What pyinfra's own facts don't tell, in its conventions."""

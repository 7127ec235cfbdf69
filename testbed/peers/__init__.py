"""What ``make bench`` compares the deploy with, and how it runs both."""

"""Python for instances that the deploy installs: which one fits a release, and an environment for each release."""

"""What makes an appliance of a machine: first boot, the admin page until it succeeds, packages and settings."""

"""What tests stand on: a private network, servers, real clients, Azurite."""

"""What releases leave behind, and whether this code gets along with it."""

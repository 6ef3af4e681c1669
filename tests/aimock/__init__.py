"""npm's @copilotkit/aimock, providers played by others than us: a second opinion on wire formats."""

"""Settings: one YAML file and the environment, checked at the start, reloaded while running.

Every key with its unit and default: docs/settings.md, which `python -m service.settings.document` writes.
"""

from service.settings.load import CONFIG, SettingsError, SettingsFileError
from service.settings.model import Settings
from service.settings.watch import SettingsWatcher

__all__ = ["CONFIG", "Settings", "SettingsError", "SettingsFileError", "SettingsWatcher"]

"""Documents that people write in YAML: read with line numbers, checked, watched, described.

The catalogue and the settings are both such documents; what they mean is no business of this package.
"""

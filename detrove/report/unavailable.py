"""Why a part of the report cannot be made."""


class Unavailable(Exception):
    """Raised by what a section needs; its message stands in the section's place."""

"""What goes wrong with a fingerprint."""

from overparam.errors import DeclarationError


class FingerprintError(DeclarationError, ValueError):
    """Code that cannot be fingerprinted; the message names file and line."""

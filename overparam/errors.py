"""What can go wrong with a study, by who can mend it."""

LONGEST_SAID = 2000
"""Characters of an error's own words that a message repeats."""


def said(error: BaseException) -> str:
    """Type and words of an error that somebody else's code raised, at a length to be read.

    Example:
        >>> said(ValueError("no such place"))
        'ValueError: no such place'
        >>> len(said(ValueError("x" * 10**6)))
        2039
    """
    name = type(error).__name__
    try:
        words = str(error)
    except Exception:
        words = "(its message raises an error itself)"
    if len(words) > LONGEST_SAID:
        words = f"{words[:LONGEST_SAID]} ... ({len(words):,} characters)"
    return f"{name}: {words}" if words else name


class BadInput(Exception):
    """What the user gave is not allowed; the message says what is. Nothing has run."""


class UnknownStudyError(BadInput, LookupError):
    """No study of that name; the message gives the nearest ones."""


class ConfigError(BadInput, ValueError):
    """A config value, field or profile is not allowed; the message lists what is."""


class MissingExtra(BadInput, ImportError):
    """Something that an extra installs is missing; the message is the pip line."""


class StudyError(Exception):
    """Base of what goes wrong inside a study."""


class DeclarationError(StudyError):
    """A study file is written wrongly; the message names file, function and parameter."""


class StepFailed(StudyError):
    """A step raised; the message names study, step, cell and cause."""


class Diverged(StudyError):
    """A model or an iteration left the finite numbers: the same inputs will do it again."""

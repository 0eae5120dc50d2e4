"""The error that a user can mend."""


class InputError(ValueError):
    """Bad input: a file, a value or a setting that the user can mend.

    The message says in one line what is wrong and what to do. The command lines print it without a
    traceback and exit with status 1; everything else that is raised is a defect of ours and keeps
    its traceback.
    """

"""The one exception that users see: a sentence, never a traceback."""


class EmigbenchError(Exception):
    """Something outside the program is wrong: an input, a file, the network.

    The message is one sentence with the id or file at fault and what to do. The command line prints it and
    exits with code 2.
    """

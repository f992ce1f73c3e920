"""Commands that train and measure with tbptt_jax; this listing is what can be run."""

import signal
import sys

_IS_STARTING = sys.argv[:1] == ["-m"]  # as Python has it while it looks for the command
if _IS_STARTING and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules are loaded

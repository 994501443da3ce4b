"""Runs a program in a terminal of its own until a file says what is waited for, then ends it and prints its screen.

Usage: terminal.py FILE PATTERN PROGRAM ARGUMENTS. Exits with 1 where the file does not say so within a minute.
"""

import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

file, pattern, program = pathlib.Path(sys.argv[1]), re.compile(sys.argv[2]), sys.argv[3:]
child, terminal = pty.fork()
if child == 0:
    os.execv(program[0], program)
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
screen, said = b"", False
until = time.monotonic() + 60
while time.monotonic() < until and not said:
    if select.select([terminal], [], [], 0.1)[0]:
        try:
            screen += os.read(terminal, 65536)
        except OSError:
            break
    said = file.exists() and bool(pattern.search(file.read_text()))
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
print(re.sub(r"\x1b(\[[0-9;?<>=]*[A-Za-z]|\][^\x07]*\x07)", " ", screen.decode(errors="replace")))
sys.exit(0 if said else 1)

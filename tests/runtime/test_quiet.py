"""What an engine writes on stderr: chatter goes, everything else stays, and the descriptor is put back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from edgepress_runtime.quiet import without_chatter


def test_chatter_goes_and_the_rest_stays(capfd):
    with without_chatter():
        os.write(2, b"INFO: Created a delegate\nERROR: this is broken\n")
        os.write(2, b"WARNING: so is this\n")
    os.write(2, b"INFO: not ours\n")
    assert capfd.readouterr().err == "ERROR: this is broken\nWARNING: so is this\nINFO: not ours\n"


def test_nothing_is_lost_when_what_is_inside_fails(capfd):
    with pytest.raises(ValueError, match="odd"), without_chatter():
        os.write(2, b"ERROR: before it failed\n")
        raise ValueError("odd")
    assert capfd.readouterr().err == "ERROR: before it failed\n"


def test_where_no_file_can_be_made_nothing_happens(capfd, monkeypatch):
    def fail(name):
        raise OSError("no room")

    monkeypatch.setattr(os, "memfd_create", fail)
    with without_chatter():
        os.write(2, b"INFO: heard\n")
    assert capfd.readouterr().err == "INFO: heard\n"


def test_a_closed_descriptor_stays_closed(environment):
    code = (
        "import os\n"
        "from edgepress_runtime.quiet import without_chatter\n"
        "os.close(2)\n"
        "with without_chatter(): print('inside')\n"
        "try: os.fstat(2)\n"
        "except OSError: print('closed')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "inside\nclosed\n"


def test_threads_take_turns(capfd):
    def once(number):
        for _ in range(50):
            with without_chatter():
                os.write(2, b"INFO: chatter\n")
                os.write(2, f"{number}\n".encode())

    threads = [threading.Thread(target=once, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"back\n")
    heard = capfd.readouterr().err.splitlines()
    assert sorted(heard[:-1]) == sorted(str(n) for n in range(4) for _ in range(50))
    assert heard[-1] == "back"

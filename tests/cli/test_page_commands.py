"""The commands that serve a page end when they are told to."""

import signal
import subprocess
import sys

import pytest

PYTHON = "from backpass.cli.main import main; main()"


@pytest.mark.skipif(sys.platform == "win32", reason="there Ctrl-C reaches a whole console")
def test_ctrl_c_ends_the_playground_after_it_has_read_a_table(tmp_path):
    asked = [sys.executable, "-c", PYTHON, "playground", "--no-open", "--port", "0"]
    started = subprocess.Popen(asked, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert started.stderr.readline().startswith("the page is at http://127.0.0.1:")
    assert started.stderr.readline() == "Ctrl-C ends it\n"
    started.send_signal(signal.SIGINT)
    _, rest = started.communicate(timeout=60)
    assert (started.returncode, rest.strip()) == (0, "")

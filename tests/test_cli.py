"""The command as a whole: quick, helpful, and honest in its exit codes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from clips import even, make_clip
from conftest import ROOT
from PIL import Image

from facemorph import __version__
from facemorph.cli import COMMANDS, main
from facemorph.progress import progress_bar


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['facemorph', '--help']\nfrom facemorph.cli import main\ntry: main()\nfinally:\n" + (
        "    heavy = {'torch', 'numpy', 'dlib', 'av', 'matplotlib', 'PIL', 'yaml'} & set(sys.modules)\n"
        "    assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for command in COMMANDS:
        assert f"  {command} " in result.stdout


def test_version_by_all_ways_in() -> None:
    for command in ([sys.executable, "-m", "facemorph"], ["facemorph"]):
        environment = {**os.environ, "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]}  # noqa: PTH120
        result = subprocess.run([*command, "--version"], capture_output=True, text=True, env=environment)
        assert result.stdout.strip() == f"facemorph, version {__version__}"


def test_the_program_ends_at_once_and_loses_nothing(tmp_path: Path) -> None:
    """What libraries do at the end is done; what Python would take down piece by piece is not."""
    code = (
        "import atexit, sys, threading, time\n"
        "from facemorph import __main__\n"
        "class Piece:\n    def __del__(self): open('torn', 'w')\n"
        "sys.piece = Piece()\n"
        "def help_(*_, **__):\n"
        "    atexit.register(lambda: open('library', 'w').write('done'))\n"
        "    threading.Thread(target=lambda: (time.sleep(0.3), print('thread'))).start()\n"
        "    print('printed'); sys.exit(int(sys.argv[1]))\n"
        "__main__.main = help_\n__main__.program()"
    )
    for wanted in (0, 3):
        done = subprocess.run([sys.executable, "-c", code, str(wanted)], capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (wanted, "printed\nthread\n"), done.stderr
    assert (tmp_path / "library").read_text() == "done" and not (tmp_path / "torn").exists()
    broken = code.replace("sys.exit(", "raise ValueError(")
    done = subprocess.run([sys.executable, "-c", broken, "0"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "ValueError: 0" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full, and a POSIX shell")
@pytest.mark.parametrize(("stdout", "wanted"), [(">/dev/null", 0), (">&-", 0), (">/dev/full", 1)])
def test_the_program_ends_by_a_stdout_that_cannot_be_written(stdout: str, wanted: int) -> None:
    code = "from facemorph import __main__; __main__.main = lambda **_: print('kept back'); __main__.program()"
    command = ["sh", "-c", f'"$0" -c "$1" {stdout}', sys.executable, code]
    environ = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    assert (done.returncode, done.stderr) == (wanted, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", ["--help", "extract --help", "weights list", "train --list-settings"])
def test_a_full_standard_output_is_said_without_a_traceback(arguments: str) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "facemorph", *arguments.split()]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Standard output cannot be written: No space left on device. ")
    assert len(done.stderr.splitlines()) == 2
    with Path("/dev/full").open("w") as full:
        assert subprocess.run(command, stdout=subprocess.DEVNULL, stderr=full).returncode == 0


def test_a_bar_tells_rate_and_time_left_in_a_narrow_terminal_too() -> None:
    with progress_bar(True, total=10, unit=" steps", description="a person of a long name", initial=0) as bar:
        bar.dynamic_ncols, bar.n, bar.start_t = None, 5, bar.start_t - 10
        wide = str(bar)
        bar.ncols = 40
        narrow = str(bar)
    assert narrow.startswith(" 50% 00:10 left,  2.00s/steps a person") and len(narrow) <= 40
    assert wide.endswith("[00:10<00:10,  2.00s/steps]")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_in_its_help(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert f"facemorph {command} " in result.output.split("Usage:")[1].split("\n", 2)[2]


def test_plot_loss_loads_no_torch(tmp_path: object) -> None:
    code = (
        "import sys; from facemorph import plots; from facemorph.dcgan import run, health\n"
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_wrong_usage_is_2_and_names_what_is_near() -> None:
    result = CliRunner().invoke(main, ["extrct", "a.mp4"])
    assert (result.exit_code, "Did you mean 'extract'?" in result.output) == (2, True)
    assert CliRunner().invoke(main, ["extract"]).exit_code == 2
    assert CliRunner().invoke(main, ["train", "--config", "mixed.yaml", "--stps", "3"]).exit_code == 2


@pytest.mark.parametrize(
    ("command", "key"),
    [("train", "training.learning_rate"), ("project", "search.loss"), ("train-encoder", "lesson.steps")],
)
def test_settings_are_listed_without_any_other_argument(command: str, key: str) -> None:
    result = CliRunner().invoke(main, [command, "--list-settings"])
    assert result.exit_code == 0, result.output
    head, *rows = result.output.splitlines()
    assert head.split() == ["key", "default", "allowed", "meaning"]
    columns = [head.index(word) for word in head.split()]
    (row,) = [row for row in rows if row.startswith(f"{key} ")]
    assert all(row[start - 1] == " " and row[start] != " " for start in columns[1:])
    assert max(map(len, rows)) <= 120


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    from facemorph import video

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(video, "find_people", interrupted)
    assert CliRunner().invoke(main, ["extract", "a.mp4"]).exit_code == 130


def test_shell_completion_knows_the_commands() -> None:
    environment = {
        **os.environ,
        "_FACEMORPH_COMPLETE": "bash_complete",
        "COMP_WORDS": "facemorph pl",
        "COMP_CWORD": "1",
    }
    code = "from facemorph.cli import main; main(prog_name='facemorph')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "plot-loss" in result.stdout


def test_the_other_project_of_this_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from facemorph.cli import another_facemorph

    assert not another_facemorph()
    (tmp_path / "facemorph-0.1.0.dist-info").mkdir()
    (tmp_path / "facemorph-0.1.0.dist-info" / "METADATA").write_text("Name: facemorph\nVersion: 0.1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert another_facemorph()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("transform a.jpg --from a.jpg --to b.jpg --shape nan -o t.png", "shape should be a finite number, not nan"),
        ("morph a.jpg b.jpg --method landmarks --colour inf -o m", "colour should be a finite number, not inf"),
        ("generate --truncation nan -o g.png", "truncation should be a finite number, not nan"),
        ("compare a.jpg b.jpg --threshold nan", "threshold should be 0 or more, not nan"),
        ("child a.jpg b.jpg --share nan -o c", "share should be from 0 to 1, not nan"),
        ("child a.jpg b.jpg --ages 5 5 -o c", "Each age can be given only once: 5 years is given twice"),
        ("morph a.jpg b.jpg --method landmarks --at 0,50,200 -o m", "percentages from 0 to 100"),
        ("morph a.jpg b.jpg --method landmarks --interpolation slerp -o m", "--interpolation needs --method"),
        ("transform a.jpg --symmetric --to b.jpg -o t.png", "leave out --from and --to"),
        ("project a.jpg --preset instant --config project-best.yaml -o p", "Give --preset or --config, not both"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, source in (("a.jpg", "eileen_collins.jpg"), ("b.jpg", "grace_hopper.jpg")):
        shutil.copy(ROOT / "facemorph" / "web" / "examples" / source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code in (1, 2) and said in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["extract", ""], 2, "An empty name; a file or folder was expected."),
        (["extract", "a.mp4", "-o", ""], 2, "Is a variable of the shell not set?"),
        (["extract", "folder", "--seed", str(2**63)], 2, f"{2**63} is larger than"),
        (["extract", "x" * 300], 1, "x cannot be used: File name too long.\nCheck its name, "),
        (["extract", "folder", "-o", "o", "--person", "x" * 300], 1, "is too long.\nAt most 255 bytes"),
        (["align", "folder", "-o", "x" * 300], 1, "File name too long"),
        (["plot-loss", "x" * 300], 1, "File name too long"),
        (["average", "folder", "-o", "file/average.png"], 1, "file is a file; a folder was expected.\nChoose another"),
        (["extract", "folder", "-o", "file"], 1, "A file has the name of a folder in this path"),
    ],
)
def test_names_that_cannot_be_are_said_without_a_traceback(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    make_clip(tmp_path / "folder" / "a.mp4", even(1, 10))
    Image.new("RGB", (64, 64)).save(tmp_path / "folder" / "a.png")
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, said in result.output) == (code, True), result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-m", "facemorph", "extract", str(tmp_path / "pipe"), "-o", str(tmp_path / "o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "is not a regular file; a clip was expected." in done.stderr


def test_an_unknown_config_names_those_that_the_command_takes() -> None:
    result = CliRunner().invoke(main, ["train", "--config", "nope.yaml"])
    assert result.exit_code == 1
    assert "mixed.yaml" in result.output and "generator-128.yaml" not in result.output


def test_landmarks_of_some_pictures_alone_end_with_1(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no image")
    face = ROOT / "facemorph" / "web" / "examples" / "eileen_collins.jpg"
    result = CliRunner().invoke(
        main, ["landmarks", "-q", str(face), str(tmp_path / "broken.jpg"), "-o", f"{tmp_path}/o"]
    )
    assert result.exit_code == 1 and "1 files .tem" in result.output and "1 failed" in result.output

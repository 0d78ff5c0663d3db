"""The `export-model` command: what it prints, where, and its exit codes."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bertrt.version import __version__
from bertrt_export.cli import main


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bertrt_export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_is_installed(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("export-model")
    shown = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"export-model {__version__}\n"


def test_export_in_a_process_of_its_own(tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = _run(tiny_checkpoint, tmp_path / "out")
    assert done.returncode == 0
    assert done.stderr == ""  # no terminal, so no progress; and no warnings of the libraries
    lines = done.stdout.splitlines()
    assert lines[0] == f"Exported {tiny_checkpoint} to {tmp_path / 'out'}"
    size = sum(p.stat().st_size for p in (tmp_path / "out").iterdir() if p.suffix != ".md") / 1e6
    assert float(lines[1].split()[1]) == pytest.approx(size, abs=0.1)
    assert "max |Δlogit|" in lines[2] and "1 to 512 tokens" in lines[2] and "1e-04" in lines[2]
    assert lines[3].split()[1] == str(tmp_path / "out" / "report.md")
    assert lines[4].startswith(f"Next: bertrt classify {tmp_path / 'out'}")


def test_last_line_is_a_command_that_works(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tiny_checkpoint), str(tmp_path / "out")]) == 0
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("Next: ")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0 and '"label"' in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--precision", "int4"], ["precision int4 is not available", "fp32, int8"]),
        (["--max-length", "4"], ["--max-length 4", "8 to 512"]),
        (["--revision", "main"], ["--revision is for hub models"]),
    ],
)
def test_error_is_one_line_and_exit_code_1(
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: list[str],
) -> None:
    assert main([str(tiny_checkpoint), str(tmp_path / "out"), *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("export-model: error: ") and printed.err.count("\n") == 1
    for word in words:
        assert word in printed.err
    assert list(tmp_path.iterdir()) == []


def test_failed_verification_exits_1_with_the_figures(
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import onnx_ir as ir
    from bertrt_export import artifact_writer, exporter

    save = artifact_writer.save_graph

    def damaged(graph: ir.Model, folder: Path, **options: Any) -> Path:
        weight = graph.graph.initializers["classifier.weight"]
        assert weight.const_value is not None
        weight.const_value = ir.tensor(weight.const_value.numpy() * 1.1, name=weight.name)
        return save(graph, folder, **options)

    monkeypatch.setattr(exporter, "save_graph", damaged)
    assert main([str(tiny_checkpoint), str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert "does not answer as PyTorch does" in message
    assert re.search(r"\d\.\d\de-0[123] alone, \d\.\d\de-0[123] in a batch", message)
    assert "the limit is 1e-04" in message
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_exits_130(
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bertrt_export.packed.trace", interrupted)
    assert main([str(tiny_checkpoint), str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "export-model: interrupted; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [[], ["model"], ["model", "out", "extra"], ["model", "out", "--max-length", "x"]]
)
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "usage: export-model" in capsys.readouterr().err


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from bertrt_export.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(' '.join({'torch', 'transformers', 'onnx'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "" and done.returncode == 0
    for option in ("--precision", "--max-length", "--revision", "--allow-pickle", "--overwrite"):
        assert option in done.stdout

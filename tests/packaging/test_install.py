"""The device kit: packed, and installed as on a board; what cannot run it is told why."""

import importlib.util
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = 'fleet = "farm"\ndevice = "pi-7"\n'


def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "install", ROOT / "systemd" / "install.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["install"] = module
    spec.loader.exec_module(module)
    return module


install = program()
BOARD = install.System(
    platform="linux-aarch64",
    bits=64,
    libc="glibc",
    libc_version="2.36",
    python=(3, 11),
    has_venv=True,
    has_systemd=True,
    is_root=True,
    free_bytes=10**9,
)


def test_a_raspberry_pi_with_a_64_bit_system_is_taken() -> None:
    assert not list(install.refusals(BOARD, service=True))


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        ({"bits": 32}, "userland: 32-bit (linux-aarch64), whatever the kernel is"),
        ({"bits": 32, "platform": "linux-armv7l"}, "install a 64-bit system"),
        ({"platform": "linux-riscv64"}, "linux-riscv64; onnxruntime has wheels for"),
        ({"libc": "", "libc_version": ""}, "rather than Alpine"),
        ({"libc_version": "2.27"}, "glibc 2.27; onnxruntime's wheels need 2.28"),
        ({"libc_version": "2.5"}, "glibc 2.5; onnxruntime's wheels need 2.28"),
        ({"python": (3, 9)}, "Python: 3.9; 3.11 or newer is expected"),
        ({"has_venv": False}, "apt-get install python3-venv"),
        ({"has_systemd": False}, "--no-service installs without it"),
        ({"is_root": False}, "use sudo"),
        ({"free_bytes": 10**8}, "disk: 100 MB free, 300 MB are needed"),
    ],
)
def test_a_system_that_cannot_run_it_is_told_what_to_do(
    fact: dict[str, object], words: str
) -> None:
    (said,) = install.refusals(replace(BOARD, **fact), service=True)
    assert words in said


def test_without_a_service_neither_root_nor_systemd_is_needed() -> None:
    bare = replace(BOARD, has_systemd=False, is_root=False)
    assert not list(install.refusals(bare, service=False))


def kit_of(folder: Path, *wheels: str) -> Path:
    (folder / "wheels").mkdir()
    for name in ("edgekit_core-1-py3-none-any", "edgekit_agent-1-py3-none-any", *wheels):
        (folder / "wheels" / f"{name}.whl").touch()
    (folder / install.UNIT).touch()
    (folder / "pi-7.toml").write_text(SETTINGS, "utf-8")
    return folder


def planned(kit: Path, *, has_user: bool) -> list[str]:
    places = install.Places(
        environment=kit / "opt", configuration=kit / "etc", units=kit / "units"
    )
    found = install.commands(
        places, kit, kit / "pi-7.toml", service=True, has_user=has_user
    )
    return [" ".join(command) for command in found]


def test_the_service_is_started_when_all_else_is_done(tmp_path: Path) -> None:
    words = [line.split()[0] for line in planned(kit_of(tmp_path), has_user=False)]
    assert words[0] == "useradd"
    assert words[-1] == "systemctl"
    assert words.count("systemctl") == 3


def test_the_second_time_the_user_stays_and_everything_is_upgraded(tmp_path: Path) -> None:
    kit = kit_of(tmp_path)
    (kit / "opt" / "bin").mkdir(parents=True)
    (kit / "opt" / "bin" / "python").touch()
    lines = planned(kit, has_user=True)
    assert not [line for line in lines if "useradd" in line or "-m venv" in line]
    assert [line for line in lines if "--upgrade" in line]
    assert lines[-1] == "systemctl restart edgekit-agent.service"


def test_the_devices_own_key_goes_where_its_provisioning_file_goes(tmp_path: Path) -> None:
    kit = kit_of(tmp_path)
    settings = kit / "pi-7.toml"
    settings.write_text(f'receipt_key_file = "pi-7.receipt.key"\n{SETTINGS}', "utf-8")
    assert not [line for line in planned(kit, has_user=True) if "receipt" in line]
    key = kit / "pi-7.receipt.key"
    key.touch()
    (line,) = [line for line in planned(kit, has_user=True) if "receipt" in line]
    assert line == f"install -o root -g edgekit -m 640 {key} {kit}/etc/pi-7.receipt.key"
    settings.write_text(f'receipt_key_file = "../../etc/shadow"\n{SETTINGS}', "utf-8")
    assert not [line for line in planned(kit, has_user=True) if "shadow" in line]


def test_a_kit_with_all_wheels_asks_no_index(tmp_path: Path) -> None:
    (pip,) = [
        line
        for line in planned(kit_of(tmp_path, "numpy-2-cp311"), has_user=True)
        if " pip " in line
    ]
    assert f"--no-index --find-links={tmp_path / 'wheels'}" in pip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("device", "Expected '='"),
        ('fleet = "farm"', "it names no device; `edgekit device enroll` makes it"),
    ],
)
def test_a_wrong_provisioning_file_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    kit = kit_of(tmp_path)
    (kit / "pi-7.toml").write_text(text, "utf-8")
    places = ["--environment", str(kit / "opt"), "--configuration", str(kit / "etc")]
    told = ["--kit", str(kit), "--no-service", *places, str(kit / "pi-7.toml")]
    assert install.main(told) == install.REFUSED
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.endswith("install: nothing was changed\n")
    assert not (kit / "opt").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_packed_kit_installs_offline_and_its_agent_answers(tmp_path: Path) -> None:
    """Needs a package index for packing; installing gets none."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    packed = tmp_path / "kit.tar.gz"
    pack = [str(ROOT / "scripts" / "pack-kit"), sys.executable, str(packed)]
    subprocess.run([*pack, os.uname().machine, version], check=True, stdout=subprocess.PIPE)
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    kit = tmp_path / "edgekit-device"
    settings = tmp_path / "pi-7.toml"
    settings.write_text(SETTINGS, "utf-8")
    places = [
        *("--environment", str(tmp_path / "opt")),
        *("--configuration", str(tmp_path / "etc")),
    ]
    nowhere = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": "/dev/null",
    }
    done = subprocess.run(
        [sys.executable, str(kit / "install.py"), "--no-service", *places, str(settings)],
        capture_output=True,
        text=True,
        check=False,
        env=nowhere,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "etc" / "agent.toml").read_text("utf-8") == SETTINGS
    agent = tmp_path / "opt" / "bin" / "edgekit-agent"
    told = subprocess.run(
        [str(agent), "--version"], capture_output=True, text=True, check=True
    )
    assert told.stdout.startswith("edgekit-agent ")

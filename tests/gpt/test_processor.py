"""What is read of the processor, and that compiled code is kept apart for each kind of it."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import pytest
import torch

from gpt import compiler_cache, processor
from tests.fresh_process import printed_by

EPYC = "processor\t: 0\nvendor_id: AuthenticAMD\nmodel name: AMD EPYC(TM)  7B13\ncpu MHz: 2450\nflags\t: fpu avx2 sse\n"
XEON = "processor\t: 0\nvendor_id: GenuineIntel\nmodel name: Intel(R) Xeon(R) CPU\nflags\t: fpu avx2 amx_bf16 avx512f\n"
GRAVITON = "processor\t: 0\nBogoMIPS\t: 2100.00\nFeatures\t: fp asimd sve\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\n"


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test says what processor this is; until then the system says nothing."""
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    return tmp_path / "cpuinfo"


@pytest.mark.parametrize(
    ("text", "name", "amx", "amd"),
    [
        (EPYC, "AMD EPYC 7B13", False, True), (XEON, "Intel Xeon CPU", True, False),
        (EPYC + "\n" + XEON, "AMD EPYC 7B13", False, True), (GRAVITON, None, None, False), (None, None, None, False),
    ],
)  # fmt: skip
def test_the_first_processor_is_read(
    cpuinfo: Path, text: str | None, name: str | None, amx: bool | None, amd: bool
) -> None:
    if text is not None:
        cpuinfo.write_text(text)
    assert processor.name() == (name or platform.processor() or platform.machine() or "CPU")
    assert (processor.has_amx(), processor.is_from_amd()) == (amx, amd)


def test_a_kind_is_its_name_and_its_instructions_and_not_its_clock(
    cpuinfo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {processor.kind()}
    texts = (EPYC, EPYC.replace("avx2", "avx2 avx512f"), EPYC.replace("7B13", "9B14"), XEON, GRAVITON)
    for text in (*texts, GRAVITON.replace("0xd4f", "0xd40")):
        cpuinfo.write_text(text)
        kinds.add(processor.kind())
    assert len(kinds) == 7
    cpuinfo.write_text(EPYC.replace("2450", "3100"))
    assert processor.kind() in kinds
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    assert processor.kind() not in kinds


def test_compiled_code_lies_in_the_folder_asked_for_in_one_of_this_kind_of_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    expected = tmp_path / processor.kind()
    assert compiler_cache.keep_apart() == compiler_cache.keep_apart() == expected
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(expected)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    chosen = compiler_cache.keep_apart()
    assert chosen.name == processor.kind() and chosen.parent.name.startswith("torchinductor_")


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX512", reason="needs registers of two widths")
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no compiler")
def test_code_compiled_for_wide_registers_is_not_taken_where_they_are_narrow(tmp_path: Path) -> None:
    """One folder for two machines, as on a cluster; the second is this one, told to do without AVX-512."""
    code = (
        "import torch\n"
        "from gpt.config import Profile, TrainConfig\n"
        "from gpt.device import choose\n"
        "choose(Profile(train=TrainConfig(device='cpu', compile=True)))\n"
        "x = torch.linspace(0, 1, 4096)\n"
        "torch.empty(4096).fill_(float('nan'))\n"
        "made = torch.compile(lambda x: x * 2 + 1)(x)\n"
        "print((made - (x * 2 + 1)).abs().max().item())\n"
    )
    for capability in ("avx512", "avx2"):
        environment = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "ATEN_CPU_CAPABILITY": capability}
        assert printed_by(code, os.environ | environment) == "0.0", capability

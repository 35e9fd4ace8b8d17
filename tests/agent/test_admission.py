from dataclasses import replace

import pytest

from edgekit.errors import AdmissionError
from edgekit.statement import BundleEntry
from edgekit_agent import machine
from edgekit_agent.update.admission import NoRoomNow, Room, choose

MB = 2**20


def entry(flavor: str = "fp32", **changes: object) -> BundleEntry:
    plain = BundleEntry(
        flavor=flavor,
        sha256=flavor[0] * 64,
        length=10 * MB,
        chunk_bytes=65_024,
        index_sha256="0" * 64,
        unpacked_bytes=20 * MB,
        peak_rss_bytes=100 * MB,
        min_onnxruntime="1.20",
        one_row_p95_us=100,
        boards=("pi",),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # BundleEntry's own fields


ROOM = Room(
    board="pi",
    isas=frozenset({"neon"}),
    onnxruntime="1.21.1",
    model_ram_bytes=200 * MB,
    model_flash_bytes=100 * MB,
    used_bytes=0,
    free_bytes=1000 * MB,
    available_bytes=1000 * MB,
)


def chosen(*entries: BundleEntry, room: Room = ROOM) -> str:
    return choose("wine 2", entries, room).flavor


def refused(*entries: BundleEntry, room: Room = ROOM) -> AdmissionError:
    with pytest.raises(AdmissionError) as caught:
        choose("wine 2", entries, room)
    return caught.value


def test_what_was_made_for_the_board_is_preferred() -> None:
    small = entry("int8", boards=(), peak_rss_bytes=60 * MB)
    assert chosen(small, entry("fp32")) == "fp32"


def test_a_smaller_flavor_is_taken_where_memory_is_short() -> None:
    big = entry("fp32", peak_rss_bytes=300 * MB)
    assert chosen(big, entry("int8", boards=())) == "int8"


def test_without_a_choice_for_the_board_the_smallest_is_taken() -> None:
    entries = [
        entry("fp32", boards=(), peak_rss_bytes=90 * MB),
        entry("int8", boards=(), peak_rss_bytes=60 * MB),
        entry("fp16", boards=(), peak_rss_bytes=60 * MB, length=9 * MB),
    ]
    assert chosen(*entries) == "fp16"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"peak_rss_bytes": 300 * MB},
            "RAM: it takes 300.0 MB, 200.0 MB is allowed",
        ),
        (
            {"unpacked_bytes": 95 * MB},
            "flash: it takes 105.0 MB, 100.0 MB is allowed",
        ),
        (
            {"min_onnxruntime": "1.22"},
            "it needs onnxruntime 1.22, 1.21.1 is here",
        ),
        ({"isas": ("avx2", "vnni")}, "it needs avx2 or vnni, this processor has neon"),
    ],
)
def test_what_never_fits_is_refused_with_numbers(
    changes: dict[str, object], sentence: str
) -> None:
    error = refused(entry("fp32", **changes))
    assert str(error) == f"wine 2: nothing fits this device: fp32: {sentence}"
    assert not isinstance(error, NoRoomNow)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"used_bytes": 80 * MB},
            "flash: it takes 30.0 MB, 20.0 MB is left beside stored bundles",
        ),
        ({"free_bytes": 29 * MB}, "disk: it takes 30.0 MB, 29.0 MB is free"),
        ({"available_bytes": 50 * MB}, "RAM: it takes 100.0 MB, 50.0 MB is free"),
    ],
)
def test_what_does_not_fit_at_the_moment_is_not_now(
    changes: dict[str, object], sentence: str
) -> None:
    error = refused(entry(), room=replace(ROOM, **changes))  # type: ignore[arg-type]  # Room's own fields
    assert isinstance(error, NoRoomNow)
    assert sentence in str(error)


@pytest.mark.parametrize(
    ("room", "sentence"),
    [
        (
            {"own_ram_bytes": 64 * MB},
            "fp32: RAM: it takes 100.0 MB, 64.0 MB is allowed for this model",
        ),
        (
            {"own_flash_bytes": 16 * MB},
            "fp32: flash: it takes 30.0 MB, 16.0 MB is allowed for this model",
        ),
    ],
)
def test_a_models_own_budget_is_kept_for_good(room: dict[str, int], sentence: str) -> None:
    error = refused(entry(), room=replace(ROOM, **room))  # type: ignore[arg-type]  # Room's own fields
    assert not isinstance(error, NoRoomNow)
    assert sentence in str(error)


def test_the_memory_of_all_models_together_is_kept_within_the_limit() -> None:
    room = replace(ROOM, neighbours={"beer": 60 * MB, "tea": 50 * MB})
    error = refused(entry(), room=room)
    assert isinstance(error, NoRoomNow), "the others may shrink"
    assert (
        "RAM: it takes 100.0 MB, 90.0 MB is left beside beer 60.0 MB, tea 50.0 MB"
        in str(error)
    )
    assert chosen(entry(), entry("int8", peak_rss_bytes=80 * MB, boards=()), room=room) == (
        "int8"
    )


def test_a_models_own_flash_is_counted_with_what_it_has_here() -> None:
    room = replace(ROOM, own_flash_bytes=64 * MB, own_used_bytes=40 * MB)
    error = refused(entry(), room=room)
    assert isinstance(error, NoRoomNow)
    assert "24.0 MB is left beside this model's stored bundles" in str(error)


def test_what_is_here_already_needs_no_room_again() -> None:
    room = replace(ROOM, used_bytes=90 * MB, held={"f" * 64: 25 * MB})
    assert chosen(entry(), room=room) == "fp32"


def test_each_flavor_gets_its_own_reason() -> None:
    message = str(
        refused(
            entry("fp32", peak_rss_bytes=300 * MB), entry("int8", isas=("vnni",), boards=())
        )
    )
    assert "fp32: RAM" in message
    assert "int8: it needs vnni" in message


@pytest.mark.parametrize(
    ("here", "needed", "fits"),
    [
        ("1.9.1", "1.20", False),
        ("1.20.0", "1.20", True),
        ("1.20", "1.20.1", False),
        ("1.31.1rc1", "1.31", True),
        ("2.0", "1.99", True),
    ],
)
def test_versions_are_compared_as_numbers(here: str, needed: str, *, fits: bool) -> None:
    room = replace(ROOM, onnxruntime=here)
    if fits:
        assert chosen(entry(min_onnxruntime=needed), room=room) == "fp32"
    else:
        refused(entry(min_onnxruntime=needed), room=room)


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("Features\t: fp asimd evtstrm crc32 cpuid\n", {"neon"}),
        ("Features\t: fp asimd asimdhp asimddp\n", {"neon", "fp16", "dotprod"}),
        ("flags\t\t: fpu sse avx2 avx512_vnni\n", {"avx2", "vnni"}),
        ("processor\t: 0\n", set()),
    ],
)
def test_vector_extensions_have_the_board_profiles_names(
    cpuinfo: str, expected: set[str]
) -> None:
    assert machine.isas(cpuinfo) == expected


def test_this_machine_tells_what_it_is() -> None:
    assert machine.isas() <= {"neon", "dotprod", "fp16", "avx2", "vnni"}
    assert machine.onnxruntime().split(".")[0].isdecimal()
